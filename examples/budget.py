"""A job that may spend ten cents asks before it spends more; somebody approves, and it goes on where it stood.

Start it with ``AGORA_AGENTS=examples.budget agora up``, then ``python -m examples.budget``.
"""

from pydantic import BaseModel

from agora.agents import Agent, StepContext
from agora.client import Agora, local

agent = Agent("example_budget")


class Question(BaseModel):
    """What to find out."""

    question: str


class Answer(BaseModel):
    """What was found."""

    text: str


research = agent.action("research", input=Question, output=Answer)


def ask_a_model(ctx: StepContext[Question], what: str) -> str:
    """A paid call: made once over all tries, and counted once."""
    answer = ctx.once(what, lambda: f"{what}: {ctx.input.question}")
    ctx.use(tokens_in=900, tokens_out=300, cost_usd="0.08", model="example", key=what)
    return answer


@research.step
def search(ctx: StepContext[Question]) -> str:
    """Eight cents."""
    return ask_a_model(ctx, "search")


@research.step
def read(ctx: StepContext[Question]) -> str:
    """Eight more: this goes over, is let through, and nothing begins after it."""
    return ask_a_model(ctx, "read")


@research.step
def summarise(ctx: StepContext[Question]) -> Answer:
    """Begins when somebody has approved."""
    return Answer(text=f"{ctx.result(search)}; {ctx.result(read)}")


def main(api: Agora) -> None:
    """Submit with a budget, see what the job asks, approve it, and look at the end."""
    budget = {"max_cost_usd": "0.10", "on_exceeded": "ask"}
    job = api.submit(agent.name, "research", {"question": "What does it cost?"}, budget=budget)
    asked = next(event for event in api.events(job["id"]) if event["type"] == "job.waiting")
    print("over its budget:", asked["data"]["budget"])
    api.approve(job["id"], budget={"max_cost_usd": "0.30"}, approval=asked["data"]["approval"])
    ended = api.wait(job["id"], timeout=30)
    print(ended["status"], ended["output"]["text"], ended["usage"]["cost_usd"])


if __name__ == "__main__":
    main(local())
