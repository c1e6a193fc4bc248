"""Jobs failed for one cause; when it is gone, all of them are retried in one call, after a look at what it would find.

Start it with ``AGORA_AGENTS=examples.bulk_retry agora up``, then ``python -m examples.bulk_retry``.
"""

from uuid import uuid4

from pydantic import BaseModel

from agora.agents import Agent, StepContext
from agora.client import Agora, local
from agora.outcomes import Permanent

agent = Agent("example_bulk_retry")


class Invoice(BaseModel):
    """An invoice to book."""

    number: int


class Booked(BaseModel):
    """The booking."""

    number: int


book = agent.action("book", input=Invoice, output=Booked)


@book.step
def enter(ctx: StepContext[Invoice]) -> Booked:
    """The books are closed for each first job, and open for its retry."""
    if ctx.job_id == ctx.root_job_id:
        raise Permanent("the books are closed", code="books-closed")
    return Booked(number=ctx.input.number)


def main(api: Agora) -> None:
    """Let ten jobs fail, look, retry them all."""
    run = uuid4().hex[:8]
    labels = {"run": run, "meant_to_fail": True}
    jobs = [{"agent": agent.name, "action": "book", "input": {"number": n}, "metadata": labels} for n in range(10)]
    print(api.wait_batch(api.submit_batch(jobs)["id"], timeout=30)["counts"])
    failed = {"error_code": "books-closed", "metadata": {"run": run}}
    print("a retry would find", api.bulk("retry", failed, dry_run=True)["matched"])
    done = api.wait_bulk(api.bulk("retry", failed, metadata={"run": run})["id"], timeout=30)
    print(done["status"], done["done"], "of", done["matched"])
    for item in list(api.iter_bulk_items(done["id"]))[:1]:
        print("for one:", api.wait(item["new_job_id"], timeout=30)["status"])


if __name__ == "__main__":
    main(local())
