"""The agent that the benchmarks run: three steps that each take and return about 200 bytes of JSON."""

from pydantic import BaseModel

from agora.agents import Agent, StepContext


class Payload(BaseModel):
    """What goes through the chain."""

    job: str
    step: int
    note: str
    ok: bool


agent = Agent("bench", description="Three steps that do nothing.")
chain = agent.action("chain", input=Payload, output=Payload)


def counted(payload: Payload) -> Payload:
    """The same payload, its step number one higher."""
    return payload.model_copy(update={"step": payload.step + 1})


@chain.step
def s1(ctx: StepContext[Payload]) -> Payload:
    return counted(ctx.input)


@chain.step
def s2(ctx: StepContext[Payload]) -> Payload:
    return counted(ctx.result(s1))


@chain.step
def s3(ctx: StepContext[Payload]) -> Payload:
    return counted(ctx.result(s2))


AGENTS = (agent,)
