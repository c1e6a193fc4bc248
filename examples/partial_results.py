"""A step tells what it spends and shows what it has: both are kept when somebody cancels the job in the middle.

Start it with ``AGORA_AGENTS=examples.partial_results agora up``, then ``python -m examples.partial_results``.
"""

import time

from pydantic import BaseModel

from agora.agents import Agent, StepContext
from agora.client import Agora, local

agent = Agent("example_partial_results")
SECONDS_PER_LINE = 0.1
LINES = 600


class Topic(BaseModel):
    """What to write about."""

    topic: str


class Text(BaseModel):
    """What was written."""

    lines: list[str]


write = agent.action("write", input=Topic, output=Text)


@write.step(queue="io")
def draft(ctx: StepContext[Topic]) -> Text:
    """Line by line, as a model would stream it; each line has its price."""
    lines: list[str] = []
    for number in range(LINES):
        ctx.check()
        time.sleep(SECONDS_PER_LINE)  # the call of a model
        lines.append(f"Line {number + 1} about {ctx.input.topic}.")
        ctx.use(tokens_in=40, tokens_out=12, cost_usd="0.00031", model="example")
        ctx.partial({"lines": lines})
    return Text(lines=lines)


def main(api: Agora) -> None:
    """Submit, look at the first lines, cancel, and read what is left."""
    job = api.submit(agent.name, "write", {"topic": "durable queues"})
    next(event for event in api.events(job["id"]) if event["type"] == "job.partial")
    print("so far:", api.get_job(job["id"])["partial_output"])
    api.cancel(job["id"], "we have seen enough")
    ended = api.wait(job["id"], timeout=30)
    print(ended["status"], len(ended["partial_output"]["lines"]), "lines,", ended["usage"]["cost_usd"], "USD")


if __name__ == "__main__":
    main(local())
