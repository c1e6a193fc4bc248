"""A failed job is retried from the step that failed; another one is forked with a different input.

Start it with ``AGORA_AGENTS=examples.retry_and_fork agora up``, then ``python -m examples.retry_and_fork``.
"""

from pydantic import BaseModel

from agora.agents import Agent, StepContext
from agora.client import Agora, local
from agora.outcomes import Permanent

agent = Agent("example_retry_and_fork")


class Letter(BaseModel):
    """A letter to write and to send."""

    to: str
    tone: str = "friendly"


class Sent(BaseModel):
    """What was sent."""

    text: str


write = agent.action("write", input=Letter, output=Sent)


@write.step
def draft(ctx: StepContext[Letter]) -> str:
    """The dear part: done once, whatever happens after it."""
    return f"a {ctx.input.tone} letter to {ctx.input.to}"


@write.step
def send(ctx: StepContext[Letter]) -> Sent:
    """The post office is closed at the first job, and open at its retry."""
    if ctx.job_id == ctx.root_job_id and ctx.input.tone == "friendly":
        raise Permanent("closed", code="post-office-closed")
    return Sent(text=ctx.result(draft))


def main(api: Agora) -> None:
    """Fail, retry, fork."""
    failed = api.submit(agent.name, "write", {"to": "Ada"}, metadata={"meant_to_fail": True})
    print("first:", api.wait(failed["id"], timeout=30)["error"]["code"])
    again = api.retry(failed["id"], metadata={})
    done = api.wait(again["id"], timeout=30)
    print("retry:", done["output"]["text"], [(step["name"], step["status"]) for step in done["steps"]])
    other = api.fork(failed["id"], "draft", {"to": "Ada", "tone": "stern"}, metadata={})
    print("fork:", api.wait(other["id"], timeout=30)["output"]["text"])


if __name__ == "__main__":
    main(local())
