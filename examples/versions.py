"""Two versions of an action side by side: a job ends on the one that it began with, or is moved on by name.

Start it with ``AGORA_AGENTS=examples.versions agora up``, then ``python -m examples.versions``.
"""

from pydantic import BaseModel

from agora.agents import Agent, StepContext, WaitFor
from agora.client import Agora, local

agent = Agent("example_versions")


class Invoice(BaseModel):
    """What is to be paid."""

    amount: float


class Paid(BaseModel):
    """By which rules it was."""

    rules: str


def declare(version: int, rules: str) -> None:
    """A version of ``pay``. Jobs are moved between versions that have the step at which they stand, by its name."""
    action = agent.action("pay", input=Invoice, output=Paid, version=version)

    @action.step
    def approve(_ctx: StepContext[Invoice]) -> WaitFor:
        return WaitFor({"type": "boolean"}, "Pay?")

    @action.step
    def pay(_ctx: StepContext[Invoice]) -> Paid:
        return Paid(rules=rules)


declare(1, "old")
declare(2, "new")


def main(api: Agora) -> None:
    """Two jobs began on version 1; one of them is moved on while it waits."""
    versions = [one for one in api.agents() if one["agent"] == agent.name]
    print([(one["version"], one["live_workers"] > 0) for one in versions])
    stays, moves = (api.submit(agent.name, "pay", {"amount": 3}, version=1)["id"] for _ in range(2))
    for job_id in (stays, moves):
        next(event for event in api.events(job_id) if event["type"] == "job.waiting")
    api.move(moves, version=2)
    for job_id in (stays, moves):
        api.give_input(job_id, True)
        print(api.wait(job_id, timeout=30)["output"]["rules"])


if __name__ == "__main__":
    main(local())
