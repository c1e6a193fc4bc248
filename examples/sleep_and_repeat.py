"""A step sleeps without holding a worker, and the action goes back to it until what it watches is done.

Start it with ``AGORA_AGENTS=examples.sleep_and_repeat agora up``, then ``python -m examples.sleep_and_repeat``.
"""

from datetime import timedelta

from pydantic import BaseModel

from agora.agents import Agent, Repeat, Snooze, StepContext
from agora.client import Agora, local

agent = Agent("example_sleep_and_repeat")


class Parcel(BaseModel):
    """What is on its way."""

    stops: list[str]


class Arrived(BaseModel):
    """Where it was seen, and how often somebody looked."""

    seen: list[str]
    looks: int


# A loop that never ends would be stopped after ten rounds.
track = agent.action("track", input=Parcel, output=Arrived, max_iterations=10)


@track.step
def wait_a_little(ctx: StepContext[Parcel]) -> Snooze:
    """Days would do as well: the moment is in Postgres, and no worker waits for it."""
    return Snooze(ctx.clock() + timedelta(seconds=0.1))


@track.step
def look(ctx: StepContext[Parcel]) -> Arrived | Repeat:
    """What was seen so far goes along as ``carry``."""
    seen = [*(ctx.carry or []), ctx.input.stops[ctx.iteration]]
    if len(seen) < len(ctx.input.stops):
        return Repeat(wait_a_little, carry=seen)
    return Arrived(seen=seen, looks=ctx.iteration + 1)


def main(api: Agora) -> None:
    """Each round is on the job, with its sleep."""
    job = api.submit(agent.name, "track", {"stops": ["Oslo", "Bergen", "at the door"]})
    print(api.wait(job["id"], timeout=60)["output"])
    print([f"{step['name']} {step['iteration']}" for step in api.get_job(job["id"])["steps"]])


if __name__ == "__main__":
    main(local())
