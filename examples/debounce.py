"""Many changes in a row make one job: it runs when they have stopped, with the last of them.

Start it with ``AGORA_AGENTS=examples.debounce agora up``, then ``python -m examples.debounce``.
"""

from pydantic import BaseModel

from agora.agents import Agent, StepContext
from agora.client import Agora, local

agent = Agent("example_debounce")


class Page(BaseModel):
    """A page of a wiki, as it is now."""

    text: str


class Indexed(BaseModel):
    """What went into the search index."""

    text: str


index = agent.action("index", input=Page, output=Indexed)


@index.step
def put(ctx: StepContext[Page]) -> Indexed:
    """Work that is not worth doing for each letter."""
    return Indexed(text=ctx.input.text)


def main(api: Agora) -> None:
    """Somebody types; half a second after the last letter it is indexed, but no later than five after the first."""
    typed = ("A", "Ag", "Ago", "Agor", "Agora")
    debounce = {"key": "page 1", "window": 0.5, "max_wait": 5}
    jobs = [api.submit(agent.name, "index", {"text": text}, debounce=debounce) for text in typed]
    print("jobs:", len({job["id"] for job in jobs}))
    print("indexed:", api.wait(jobs[-1]["id"], timeout=30)["output"]["text"])


if __name__ == "__main__":
    main(local())
