"""retry, fork: new jobs that go on from what others have done."""

from typing import Any

import click

from agora.cli.common import client, json_option, print_json, read_json
from agora.cli.progress import follow


@click.command("retry")
@click.argument("job_id")
@click.option("--from", "from_step", metavar="STEP", help="Begin at this step; default: where the job ended.")
@click.option("--version", type=int, help="Another version of the action.")
@click.option("--priority", type=click.IntRange(0, 9))
@click.option("--watch", is_flag=True, help="Follow the new job until it ends.")
@json_option
@click.pass_context
def retry_command(ctx: click.Context, /, job_id: str, watch: bool, as_json: bool, **options: Any) -> int:
    """Retry a failed or cancelled job from where it ended: prints the id of the new job."""
    return _show(ctx, client(ctx).retry(job_id, **options), watch=watch, as_json=as_json)


@click.command("fork")
@click.argument("job_id")
@click.option("--from", "from_step", metavar="STEP", required=True, help="The step at which the new job begins.")
@click.option("--input", "-i", "given", help="The whole new input: JSON, @file or -; default: that of the job.")
@click.option("--version", type=int, help="Another version of the action.")
@click.option("--priority", type=click.IntRange(0, 9))
@click.option("--watch", is_flag=True, help="Follow the new job until it ends.")
@json_option
@click.pass_context
def fork_command(
    ctx: click.Context, /, job_id: str, from_step: str, given: str | None, watch: bool, as_json: bool, **options: Any
) -> int:
    """Begin a new job at a step of another one, with its results before: prints the id of the new job."""
    value = None if given is None else read_json(given, "--input")
    return _show(ctx, client(ctx).fork(job_id, from_step, value, **options), watch=watch, as_json=as_json)


def _show(ctx: click.Context, job: dict[str, Any], *, watch: bool, as_json: bool) -> int:
    if watch:
        return follow(client(ctx), job["id"], as_json=as_json)
    if as_json:
        print_json(job)
    else:
        print(job["id"])
    return 0
