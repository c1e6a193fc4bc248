"""A step asks a person and holds no worker while it waits; a time-out is an outcome like any other.

Start it with ``AGORA_AGENTS=examples.ask_a_person agora up``, then ``python -m examples.ask_a_person``.
"""

from datetime import timedelta

from pydantic import BaseModel

from agora.agents import Agent, StepContext, TimedOut, WaitFor
from agora.client import Agora, local

agent = Agent("example_ask_a_person")


class Order(BaseModel):
    """An order that a person has to approve."""

    amount: int


class Decision(BaseModel):
    """What became of it."""

    approved: bool
    why: str


approve = agent.action("approve", input=Order, output=Decision)


@approve.step
def ask(ctx: StepContext[Order]) -> WaitFor:
    """Ask; the answer must satisfy this JSON Schema."""
    schema = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}
    return WaitFor(schema, prompt=f"Approve {ctx.input.amount} €?", until=ctx.clock() + timedelta(hours=1))


@approve.step
def conclude(ctx: StepContext[Order]) -> Decision:
    """The answer is the result of the step that asked."""
    answer = ctx.result(ask)
    if isinstance(answer, TimedOut):
        return Decision(approved=False, why="nobody answered within an hour")
    return Decision(approved=answer.value["approved"], why="a person said so")


def main(api: Agora) -> None:
    """Submit, answer, and look at the output."""
    job = api.submit(agent.name, "approve", {"amount": 120})
    question = next(event for event in api.events(job["id"]) if event["type"] == "job.waiting")
    print(question["data"]["prompt"])
    api.give_input(job["id"], {"approved": True})
    print(api.wait(job["id"], timeout=30)["output"])


if __name__ == "__main__":
    main(local())
