"""Submit many jobs in one request, all or none, and wait for them as one.

Start it with ``AGORA_AGENTS=examples.batch agora up``, then ``python -m examples.batch``.
"""

from pydantic import BaseModel

from agora.agents import Agent, StepContext
from agora.client import Agora, ApiError, local

agent = Agent("example_batch")


class Page(BaseModel):
    """A page to count."""

    text: str


class Count(BaseModel):
    """How many words it has."""

    words: int


count = agent.action("count", input=Page, output=Count)


@count.step
def words(ctx: StepContext[Page]) -> Count:
    """Count."""
    return Count(words=len(ctx.input.text.split()))


def main(api: Agora) -> None:
    """Submit a batch, one with a fault, and look at what became of the first."""
    jobs = [{"agent": agent.name, "action": "count", "input": {"text": "word " * n}} for n in range(1, 21)]
    batch = api.submit_batch(jobs, metadata={"document": "report"}, idempotency_key="example-batch")
    done = api.wait_batch(batch["id"], timeout=30)
    print(done["status"], done["counts"])
    last = api.get_job(batch["job_ids"][-1])
    print("the last one has", last["output"]["words"], "words")
    try:
        api.submit_batch([*jobs, {"agent": agent.name, "action": "count", "input": {"text": 7}}])
    except ApiError as refused:
        print("none of them was accepted:", refused.errors[0]["pointer"], refused.errors[0]["message"])


if __name__ == "__main__":
    main(local())
