"""A schedule: a job by cron in a time zone, its next fire times, and one run at once.

Start it with ``AGORA_AGENTS=examples.schedule agora up``, then ``python -m examples.schedule``.
"""

import time
from uuid import uuid4

from pydantic import BaseModel

from agora.agents import Agent, StepContext
from agora.client import Agora, local

agent = Agent("example_schedule")


class Topic(BaseModel):
    """What the report is about."""

    topic: str


class Report(BaseModel):
    """The report."""

    text: str


report = agent.action("report", input=Topic, output=Report)


@report.step
def write(ctx: StepContext[Topic]) -> Report:
    """Write it."""
    return Report(text=f"all is well with {ctx.input.topic}")


def main(api: Agora) -> None:
    """Make a schedule for every working day, run it now; make one for every second, and see it fire."""
    name = f"report-{uuid4().hex[:8]}"
    made = api.create_schedule(
        name, agent.name, "report", {"topic": "sales"}, cron="30 6 * * 1-5", timezone="Europe/Berlin", catch_up="one"
    )
    print("fires next at", ", ".join(made["next"][:3]))
    print("now:", api.wait(api.run_schedule(name)["id"], timeout=30)["output"]["text"])
    api.delete_schedule(name)
    api.create_schedule(f"{name}-often", agent.name, "report", {"topic": "stock"}, every=1)
    deadline = time.monotonic() + 30
    while not (fired := [run for run in api.schedule_runs(f"{name}-often") if run["job_id"]]):
        if time.monotonic() > deadline:
            raise TimeoutError("it did not fire")
        time.sleep(0.2)
    print("fired:", api.wait(fired[-1]["job_id"], timeout=30)["output"]["text"])
    api.delete_schedule(f"{name}-often")


if __name__ == "__main__":
    main(local())
