"""batch: submit, list, show, watch and cancel many jobs as one."""

import json
import sys
from typing import Any

import click

from agora.cli.common import client, json_option, print_json, print_rows, read_json

FAILED = 1


@click.group("batch")
def batch_command() -> None:
    """Submit, watch and cancel many jobs as one."""


@batch_command.command("submit")
@click.argument("file", type=click.File())
@click.option("--metadata", default="{}", help="JSON, @file or -; of the batch.")
@click.option("--idempotency-key", help="A repeat with the same key makes no second batch.")
@click.option("--watch", is_flag=True, help="Wait until the batch is completed.")
@json_option
@click.pass_context
def submit(
    ctx: click.Context, file: Any, metadata: str, idempotency_key: str | None, watch: bool, as_json: bool
) -> int:
    """Submit the jobs of FILE, one JSON object a line (- for standard input): all of them or none."""
    jobs = [_job_of(line, number) for number, line in enumerate(file, 1) if line.strip()]
    api = client(ctx)
    batch = api.submit_batch(jobs, metadata=read_json(metadata, "--metadata"), idempotency_key=idempotency_key)
    if watch:
        return _show(api.wait_batch(batch["id"]), as_json=as_json)
    if as_json:
        print_json(batch)
    else:
        print(batch["id"])
    return 0


def _job_of(line: str, number: int) -> dict[str, Any]:
    try:
        job = json.loads(line)
    except ValueError as error:
        raise click.UsageError(f"line {number} is not JSON: {error}") from None
    if not isinstance(job, dict):
        raise click.UsageError(f"line {number} is no JSON object")
    return job


@batch_command.command("list")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@json_option
@click.pass_context
def list_(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List batches, newest first."""
    found = client(ctx).list_batches(limit=limit)["items"]
    if as_json:
        print_json(found)
        return
    rows = [
        (one["id"], one["status"], str(one["size"]), f"{one['progress']:.0%}", one["created_at"][:19]) for one in found
    ]
    print_rows(rows, ("BATCH", "STATUS", "JOBS", "DONE", "CREATED"))


@batch_command.command("show")
@click.argument("batch_id")
@json_option
@click.pass_context
def show(ctx: click.Context, batch_id: str, as_json: bool) -> None:
    """Show a batch."""
    _show(client(ctx).get_batch(batch_id), as_json=as_json)


@batch_command.command("watch")
@click.argument("batch_id")
@json_option
@click.pass_context
def watch(ctx: click.Context, batch_id: str, as_json: bool) -> int:
    """Wait until a batch is completed; exit code 1 unless all of its jobs succeeded."""
    return _show(client(ctx).wait_batch(batch_id), as_json=as_json)


@batch_command.command("cancel")
@click.argument("batch_id")
@click.option("--reason", default="")
@json_option
@click.pass_context
def cancel(ctx: click.Context, batch_id: str, reason: str, as_json: bool) -> None:
    """Cancel every open job of a batch."""
    _show(client(ctx).cancel_batch(batch_id, reason), as_json=as_json)


def _show(batch: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        print_json(batch)
    else:
        print(f"{batch['id']}  {batch['status']}  {batch['progress']:.0%} of {batch['size']} jobs ended")
        print_rows([(state, str(count)) for state, count in sorted(batch["counts"].items())], ("STATE", "JOBS"))
        sys.stdout.flush()
    return 0 if batch["counts"].get("succeeded", 0) == batch["size"] else FAILED
