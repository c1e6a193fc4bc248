"""The agent of the API's tests: one action that ends at once, one that asks a person."""

from pydantic import BaseModel

from agora.agents import Agent, StepContext, WaitFor


class Number(BaseModel):
    n: int = 1


probe = Agent("probe", description="For tests.")
double = probe.action("double", input=Number, output=Number)
asking = probe.action("ask", input=Number, output=Number)


@double.step
def twice(ctx: StepContext[Number]) -> Number:
    return Number(n=ctx.input.n * 2)


@asking.step
def ask(_: StepContext[Number]) -> WaitFor:
    return WaitFor({"type": "integer"}, "How many?")


@asking.step
def answer(ctx: StepContext[Number]) -> Number:
    return Number(n=ctx.result(ask).value)


def released():
    """The probe after a release: its ``double`` has a second version, which uses tokens."""
    made = Agent("probe", description="For tests.")
    made.actions.update(probe.actions)
    dear = made.action("double", input=Number, output=Number, version=2)

    @dear.step
    def twice(ctx: StepContext[Number]) -> int:
        ctx.use(tokens_in=60, model="m")
        return ctx.input.n * 2

    @dear.step
    def tell(ctx: StepContext[Number]) -> Number:
        return Number(n=ctx.result(twice))

    return made


def submit(caller, action="double", value=None, **more):
    """Submit a job of it over the API; the answer."""
    return caller.post("/api/v1/jobs", json={"agent": "probe", "action": action, "input": value or {"n": 4}, **more})
