"""bulk: cancel, retry or fork every job that a filter finds."""

from typing import Any

import click

from agora.cli.common import client, json_option, metadata_of, print_json, print_rows, read_json

FAILED = 1
MOMENT = click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"])


@click.group("bulk")
def bulk_command() -> None:
    """Cancel, retry or fork every job that a filter finds; watch and stop it."""


def _filters(function: Any) -> Any:
    for option in (
        click.option("--status", multiple=True),
        click.option("--agent"),
        click.option("--action"),
        click.option("--error-code"),
        click.option("--after", "created_after", type=MOMENT, help="Made at or after, such as 2030-01-01T06:00+01:00."),
        click.option("--before", "created_before", type=MOMENT),
        click.option("--where", multiple=True, metavar="KEY:VALUE", help="Metadata; or one JSON object."),
        click.option("--batch", metavar="BATCH"),
        click.option("--schedule", metavar="SCHEDULE"),
        click.option("--all", "everything", is_flag=True, help="Needed when nothing else is said."),
        click.option("--dry-run", is_flag=True, help="Only count, and show the newest ten."),
        click.option("--watch", is_flag=True, help="Wait until it has ended."),
        json_option,
    ):
        function = option(function)
    return click.pass_context(function)


@bulk_command.command("cancel")
@click.option("--reason", default=None)
@_filters
def cancel(ctx: click.Context, /, **given: Any) -> int:
    """Cancel open jobs."""
    return _begin(ctx, "cancel", {"reason": given.pop("reason")}, given)


@bulk_command.command("retry")
@click.option("--from", "from_step", metavar="STEP", help="Begin at this step; default: where each job ended.")
@click.option("--priority", type=click.IntRange(0, 9))
@_filters
def retry(ctx: click.Context, /, **given: Any) -> int:
    """Retry failed and cancelled jobs."""
    options = {name: given.pop(name) for name in ("from_step", "priority")}
    return _begin(ctx, "retry", options, given)


@bulk_command.command("fork")
@click.option("--from", "from_step", metavar="STEP", required=True)
@click.option("--input", "-i", "value", help="The whole input of the new jobs: JSON, @file or -.")
@click.option("--priority", type=click.IntRange(0, 9))
@_filters
def fork(ctx: click.Context, /, **given: Any) -> int:
    """Fork jobs at a step."""
    options = {name: given.pop(name) for name in ("from_step", "priority")}
    value = given.pop("value")
    options["input"] = None if value is None else read_json(value, "--input")
    return _begin(ctx, "fork", options, given)


def _begin(ctx: click.Context, action: str, options: dict[str, Any], given: dict[str, Any]) -> int:
    watch, as_json, dry_run = given.pop("watch"), given.pop("as_json"), given.pop("dry_run")
    everything, where = given.pop("everything"), given.pop("where")
    filters = {name: value for name, value in given.items() if value}
    if where:
        filters["metadata"] = metadata_of(where)
    for name in ("created_after", "created_before"):
        if name in filters:
            filters[name] = filters[name].isoformat()
    api = client(ctx)
    made = api.bulk(action, filters, all=everything, dry_run=dry_run, **options)
    if dry_run:
        return _show_preview(made, as_json=as_json)
    return _show(api.wait_bulk(made["id"]) if watch else made, as_json=as_json)


def _show_preview(found: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        print_json(found)
        return 0
    print(f"{found['matched']} jobs")
    rows = [(job["id"], f"{job['agent']}.{job['action']}", job["status"]) for job in found["sample"]]
    print_rows(rows, ("JOB", "ACTION", "STATUS"))
    return 0


@bulk_command.command("list")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@json_option
@click.pass_context
def list_(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List bulk actions, newest first."""
    found = client(ctx).list_bulks(limit=limit)["items"]
    if as_json:
        print_json(found)
        return
    rows = [
        (one["id"], one["action"], one["status"], f"{one['done']}/{one['matched']}", str(one["failed"]))
        for one in found
    ]
    print_rows(rows, ("BULK", "ACTION", "STATUS", "DONE", "FAILED"))


@bulk_command.command("show")
@click.argument("bulk_id")
@json_option
@click.pass_context
def show(ctx: click.Context, bulk_id: str, as_json: bool) -> None:
    """Show how far a bulk action has come."""
    _show(client(ctx).get_bulk(bulk_id), as_json=as_json)


@bulk_command.command("items")
@click.argument("bulk_id")
@click.option("--outcome", type=click.Choice(["done", "failed"]))
@json_option
@click.pass_context
def items(ctx: click.Context, bulk_id: str, outcome: str | None, as_json: bool) -> None:
    """Show what became of each job."""
    found = list(client(ctx).iter_bulk_items(bulk_id, outcome))
    if as_json:
        print_json(found)
        return
    rows = [
        (one["job_id"], one["outcome"], one["new_job_id"] or (one["error"] or {}).get("message", "")) for one in found
    ]
    print_rows(rows, ("JOB", "OUTCOME", "NEW JOB"))


@bulk_command.command("watch")
@click.argument("bulk_id")
@json_option
@click.pass_context
def watch(ctx: click.Context, bulk_id: str, as_json: bool) -> int:
    """Wait until a bulk action has ended; exit code 1 when a job failed or it was stopped."""
    return _show(client(ctx).wait_bulk(bulk_id), as_json=as_json)


@bulk_command.command("stop")
@click.argument("bulk_id")
@json_option
@click.pass_context
def stop(ctx: click.Context, bulk_id: str, as_json: bool) -> None:
    """Stop a bulk action; what it has done stays done."""
    _show(client(ctx).cancel_bulk(bulk_id), as_json=as_json)


def _show(bulk: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        print_json(bulk)
    else:
        print(f"{bulk['id']}  {bulk['action']}  {bulk['status']}  {bulk['done']} of {bulk['matched']} jobs done")
        for code, count in sorted(bulk["reasons"].items()):
            print(f"  failed: {count}  {code}")
    return FAILED if bulk["failed"] or bulk["status"] == "cancelled" else 0
