"""A step spawns jobs and goes on when all of them have ended; cancelling the parent cancels them.

Start it with ``AGORA_AGENTS=examples.child_jobs agora up``, then ``python -m examples.child_jobs``.
"""

from pydantic import BaseModel

from agora.agents import Agent, Child, Failures, Spawn, StepContext
from agora.client import Agora, local

agent = Agent("example_child_jobs")


class Cities(BaseModel):
    """Whose weather is wanted."""

    names: list[str]


class City(BaseModel):
    """One of them."""

    name: str


class Report(BaseModel):
    """A line for each city."""

    lines: list[str]


report = agent.action("report", input=Cities, output=Report)
forecast = agent.action("forecast", input=City, output=Report)


@report.step
def ask_all(ctx: StepContext[Cities]) -> Spawn:
    """The children are made in the transaction that records this step: each once, whatever happens to the worker."""
    children = [Child(agent=agent.name, action="forecast", input={"name": name}) for name in ctx.input.names]
    return Spawn(children, failures=Failures.collect())


@report.step
def put_together(ctx: StepContext[Cities]) -> Report:
    """Their results, in order."""
    return Report(lines=[child.output["lines"][0] for child in ctx.result(ask_all) if child.status == "succeeded"])


@forecast.step
def predict(ctx: StepContext[City]) -> Report:
    """What each child does."""
    return Report(lines=[f"{ctx.input.name}: rain later"])


def main(api: Agora) -> None:
    """Submit the parent; its children are jobs like any other."""
    job = api.submit(agent.name, "report", {"names": ["Oslo", "Rome", "Turku"]})
    print(api.wait(job["id"], timeout=60)["output"])
    print([child["status"] for child in api.iter_jobs(parent_id=job["id"])])


if __name__ == "__main__":
    main(local())
