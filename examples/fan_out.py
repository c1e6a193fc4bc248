"""A step is run once for each value of a list, spread over the workers, and joined in input order.

Start it with ``AGORA_AGENTS=examples.fan_out agora up``, then ``python -m examples.fan_out``.
"""

from datetime import timedelta

from pydantic import BaseModel

from agora.agents import Agent, Failures, ItemContext, Permanent, Retry, StepContext, Transient
from agora.client import Agora, local

agent = Agent("example_fan_out")


class Shelf(BaseModel):
    """How many books stand on it."""

    books: int = 20


class Summary(BaseModel):
    """What was read, and what could not be."""

    pages: int
    unreadable: list[str]


read = agent.action("read", input=Shelf, output=Summary)


@read.step
def list_books(ctx: StepContext[Shelf]) -> list[str]:
    """The values that the next step is run for."""
    return [f"book {n}" for n in range(ctx.input.books)]


@read.map(over=list_books, failures=Failures(share=0.1), retry=Retry(attempts=2, first=timedelta(milliseconds=50)))
def read_book(ctx: ItemContext[Shelf, str]) -> int:
    """Each book is tried and recorded by itself: a retry runs only what has not succeeded."""
    if ctx.item == 3 and ctx.attempt == 1:
        raise Transient("the light went out")
    if ctx.item == 13:
        raise Permanent(f"{ctx.value} has been eaten by mice")
    return 100 + ctx.item


@read.step
def sum_up(ctx: StepContext[Shelf]) -> Summary:
    """A tenth of the books may be unreadable; this step sees which."""
    books = ctx.result(read_book)
    return Summary(pages=sum(books), unreadable=[one.message for one in books.failures()])


def main(api: Agora) -> None:
    """Submit, watch the progress, and look at the items."""
    job = api.submit(agent.name, "read", {"books": 20})
    print(api.wait(job["id"], timeout=60)["output"])
    for item in api.iter_items(job["id"], "read_book", status=["failed"]):
        print(f"item {item['index']} ({item['value']}): {item['error']['message']}")


if __name__ == "__main__":
    main(local())
