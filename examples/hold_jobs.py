"""Jobs go some weeks after their end; a legal hold keeps those whose metadata contains its own, as long as it lasts.

Start it with ``AGORA_AGENTS=examples.hold_jobs agora up``, then ``python -m examples.hold_jobs``.
"""

from pydantic import BaseModel

from agora.agents import Agent, StepContext
from agora.client import Agora, local

agent = Agent("example_hold_jobs")


class Payment(BaseModel):
    """What was paid."""

    amount: int


book = agent.action("book", input=Payment, output=Payment)


@book.step
def enter(ctx: StepContext[Payment]) -> Payment:
    """One step is enough to be kept."""
    return ctx.input


def main(api: Agora) -> None:
    """Submit, hold by metadata, look, release. The hold stays readable: who made and released it, and when."""
    job = api.submit(agent.name, "book", {"amount": 5}, metadata={"customer": "c-17", "year": 2026})
    api.wait(job["id"], timeout=30)
    hold = api.create_hold("case 2026/17", {"customer": "c-17"})
    print("in force:", [one["name"] for one in api.list_holds()["items"]])
    print("released:", api.release_hold(hold["id"])["released_at"])


if __name__ == "__main__":
    main(local())
