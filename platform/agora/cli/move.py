"""move."""

import click

from agora.cli.common import client, json_option, print_json


@click.command("move")
@click.argument("target", metavar="JOB | AGENT.ACTION")
@click.option("--version", type=click.IntRange(1), required=True, help="The version to go on at.")
@click.option("--from", "before", type=click.IntRange(1), help="With AGENT.ACTION: the version that the jobs are on.")
@json_option
@click.pass_context
def move_command(ctx: click.Context, target: str, version: int, before: int | None, as_json: bool) -> int:
    """Move an open job to another version of its action; or, with --from, all open jobs of a version."""
    agent, dot, action = target.rpartition(".")
    if bool(dot) != (before is not None):
        raise click.UsageError("give a job, or AGENT.ACTION with --from")
    if before is None:
        job = client(ctx).move(target, version)
        print_json(job) if as_json else print(f"{job['id']}  {job['status']}  version {job['version']}")
        return 0
    found = client(ctx).move_all(agent, action, before=before, version=version)
    if as_json:
        print_json(found)
    else:
        print(f"{found['moved']} moved, {len(found['refused'])} refused")
        for one in found["refused"]:
            print(f"  {one['job_id']}: {one['detail']}")
    return 1 if found["refused"] else 0
