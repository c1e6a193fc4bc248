"""An action is tried out in this process, with faults and a clock that skips, before a real worker runs it.

Start it with ``AGORA_AGENTS=examples.try_it_in_a_test agora up``, then ``python -m examples.try_it_in_a_test``.
"""

from datetime import timedelta

from pydantic import BaseModel

from agora.agents import Agent, Retry, Snooze, StepContext
from agora.client import Agora, local
from agora.testing import FailStep, FakeClock, LoseWorker, run_action

agent = Agent("example_try_it_in_a_test")


class Parcel(BaseModel):
    """What is to be sent, and how long it takes."""

    weight: int
    days: float = 0


class Sent(BaseModel):
    """What became of it."""

    label: str


send = agent.action("send", input=Parcel, output=Sent)


@send.step(retry=Retry(attempts=3, first=timedelta(seconds=30)))
def book(ctx: StepContext[Parcel]) -> str:
    """Whoever is called gets the idempotency key: it is the same on every try."""
    return f"booked {ctx.input.weight} kg"


@send.step
def travel(ctx: StepContext[Parcel]) -> Snooze:
    """Days, and no worker is held."""
    return Snooze(ctx.clock() + timedelta(days=ctx.input.days))


@send.step
def arrive(ctx: StepContext[Parcel]) -> Sent:
    """The last step's result is the output."""
    return Sent(label=ctx.result(book))


def main(api: Agora) -> None:
    """Three days in a moment, then the same action on a real worker."""
    clock = FakeClock()
    faults = [FailStep(step=book), LoseWorker(step=book, attempt=2)]
    tried = run_action(send, Parcel(weight=2, days=3), clock=clock, faults=faults)
    print([one.outcome for one in tried.step(book).tries], tried.output, clock())
    job = api.submit(agent.name, "send", {"weight": 2})
    output = api.wait(job["id"], timeout=30)["output"]
    if tried.output is None or output != tried.output.model_dump():
        raise AssertionError(f"the worker made {output}")
    print(output)


if __name__ == "__main__":
    main(local())
