"""approve."""

from decimal import Decimal

import click

from agora.cli.common import client, json_option, print_json


@click.command("approve")
@click.argument("job_id")
@click.option("--max-tokens", type=click.IntRange(1), help="The new limit; it must be above what the job has used.")
@click.option("--max-cost-usd", type=Decimal)
@click.option("--max-run-seconds", type=click.FloatRange(0, min_open=True))
@click.option("--approval", help="Approve only this one: the id that the job's `waits` names.")
@json_option
@click.pass_context
def approve_command(
    ctx: click.Context,
    /,
    job_id: str,
    max_tokens: int | None,
    max_cost_usd: Decimal | None,
    max_run_seconds: float | None,
    *,
    approval: str | None,
    as_json: bool,
) -> int:
    """Let a job go on that is over its budget: with new limits, or with as much again as it had at first."""
    given = {"max_tokens": max_tokens, "max_cost_usd": max_cost_usd, "max_run_seconds": max_run_seconds}
    budget = {name: value for name, value in given.items() if value is not None}
    job = client(ctx).approve(job_id, budget=budget, approval=approval)
    if as_json:
        print_json(job)
    else:
        print(f"{job['id']}  {job['status']}")
    return 0
