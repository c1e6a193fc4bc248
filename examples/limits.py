"""Jobs with the same concurrency key run one after the other; a job says what it waits for.

Start it with ``AGORA_AGENTS=examples.limits agora up``, then ``python -m examples.limits``.
"""

import itertools
import time

from pydantic import BaseModel

from agora.agents import Agent, StepContext
from agora.client import Agora, ApiError, local

agent = Agent("example_limits")


class Deploy(BaseModel):
    """A deployment: two of one site must not overlap."""

    site: str
    seconds: float = 0.3


class Span(BaseModel):
    """When it ran, in seconds since the epoch."""

    began: float
    ended: float


deploy = agent.action("deploy", input=Deploy, output=Span)


@deploy.step(queue="io")
def work(ctx: StepContext[Deploy]) -> Span:
    """Take a while."""
    began = time.time()
    time.sleep(ctx.input.seconds)
    return Span(began=began, ended=time.time())


def main(api: Agora) -> None:
    """Three deployments of one site at once, and one that would rather not wait."""
    jobs = [api.submit(agent.name, "deploy", {"site": "a"}, concurrency_key="site a") for _ in range(3)]
    waits = api.get_job(jobs[2]["id"])["waits"]
    if waits:
        print(f"the third waits for: {waits['reason']}, {waits.get('ahead')} ahead of it")
    try:
        api.submit(agent.name, "deploy", {"site": "a"}, concurrency_key="site a", concurrency_policy="reject")
    except ApiError as refused:
        print(f"a fourth was refused: {refused.code}")
    spans = sorted((api.wait(job["id"], timeout=30)["output"] for job in jobs), key=lambda span: span["began"])
    for before, after in itertools.pairwise(spans):
        if after["began"] < before["ended"]:
            raise RuntimeError("two deployments overlapped")
    print("three deployments, one after the other")

    twins = [api.submit(agent.name, "deploy", {"site": "b"}, unique={"key": "site b"}) for _ in range(2)]
    print("the second submit got the first one's job:", twins[0]["id"] == twins[1]["id"])

    api.put_limit(f"{agent.name}.deploy", max_running=2)
    print([(limit["target"], limit["max_running"]) for limit in api.limits()])
    api.delete_limit(f"{agent.name}.deploy")


if __name__ == "__main__":
    main(local())
