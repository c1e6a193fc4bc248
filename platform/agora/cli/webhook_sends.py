"""webhooks deliveries, recover, replay, replays: what was sent, and sending it again."""

from typing import Any

import click

from agora.cli.common import client, json_option, print_json, print_rows

CANCELLED = 1
MOMENT = click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"])
ENDED = click.Choice(["succeeded", "exhausted"])


@click.group("deliveries")
def deliveries_group() -> None:
    """List and show deliveries, and send them again."""


@deliveries_group.command("list")
@click.option("--endpoint", metavar="ENDPOINT")
@click.option("--status", multiple=True)
@click.option("--type", "event_type")
@click.option("--job", "job_id", metavar="JOB")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@json_option
@click.pass_context
def list_(ctx: click.Context, /, as_json: bool, **query: Any) -> None:
    """List deliveries, newest first."""
    found = client(ctx).list_deliveries(**{**query, "status": list(query["status"])})["items"]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["id"], one["status"], one["event_type"], str(one["attempt"]), str(one["last_status_code"] or "-"),
            one["created_at"][:19], one["endpoint_id"],
        )
        for one in found
    ]  # fmt: skip
    print_rows(rows, ("DELIVERY", "STATUS", "EVENT", "TRIES", "ANSWER", "CREATED", "ENDPOINT"))


@deliveries_group.command("show")
@click.argument("delivery_id", metavar="DELIVERY")
@json_option
@click.pass_context
def show(ctx: click.Context, delivery_id: str, as_json: bool) -> None:
    """Show a delivery with every try."""
    found = client(ctx).get_delivery(delivery_id)
    if as_json:
        print_json(found)
        return
    _show(found)
    print(found["body"])
    rows = [
        (
            str(one["number"]), one["started_at"][:19], "delivered" if one["delivered"] else one["error_class"] or "-",
            str(one["status_code"] or "-"), f"{one['duration_ms']} ms", one["peer_address"] or "-", one["error"] or "",
        )
        for one in found["attempts"]
    ]  # fmt: skip
    print_rows(rows, ("TRY", "AT", "OUTCOME", "ANSWER", "TOOK", "PEER", "ERROR"))


def _show(one: dict[str, Any]) -> None:
    when = f"  next try {one['next_attempt_at']}" if one["next_attempt_at"] else ""
    print(f"{one['id']}  {one['status']}  {one['event_type']}  {one['event_id']}  {one['endpoint_id']}{when}")


@deliveries_group.command("resend")
@click.argument("delivery_ids", metavar="DELIVERY…", nargs=-1, required=True)
@json_option
@click.pass_context
def resend(ctx: click.Context, delivery_ids: tuple[str, ...], as_json: bool) -> None:
    """Send deliveries again, now: the same ids, the same bytes."""
    api = client(ctx)
    for delivery_id in delivery_ids:
        found = api.resend_delivery(delivery_id)
        if as_json:
            print_json(found)
        else:
            _show(found)


def _run(function: Any) -> Any:
    for option in (
        click.option("--dry-run", is_flag=True, help="Only count."),
        click.option("--watch", is_flag=True, help="Wait until all are in line."),
        json_option,
    ):
        function = option(function)
    return click.pass_context(function)


@click.command("recover")
@click.argument("ref", metavar="ENDPOINT")
@click.option("--since", type=MOMENT, required=True, help="With its zone, such as 2030-01-01T06:00+01:00.")
@_run
def recover_command(ctx: click.Context, /, ref: str, since: Any, **given: Any) -> int:
    """Send again every delivery to an endpoint that was given up since a time."""
    return _begun(ctx, client(ctx).recover_endpoint(ref, since, dry_run=given["dry_run"]), given)


@click.command("replay")
@click.option("--endpoint", metavar="ENDPOINT", help="Only of this one.")
@click.option("--status", type=ENDED, multiple=True)
@click.option("--type", "event_types", multiple=True, help="An event type, or a beginning such as job.*")
@click.option("--job", "job_id", metavar="JOB")
@click.option("--since", type=MOMENT, help="Made at or after, such as 2030-01-01T06:00+01:00.")
@click.option("--until", type=MOMENT)
@click.option("--all", "everything", is_flag=True, help="Needed when nothing else is said.")
@_run
def replay_command(ctx: click.Context, /, everything: bool, dry_run: bool, **given: Any) -> int:
    """Send again every ended delivery that a filter finds."""
    shown = {"dry_run": dry_run, "watch": given.pop("watch"), "as_json": given.pop("as_json")}
    filters: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value
    }
    return _begun(ctx, client(ctx).replay_deliveries(all=everything, dry_run=dry_run, **filters), shown)


def _begun(ctx: click.Context, made: dict[str, Any], given: dict[str, Any]) -> int:
    if not given["dry_run"]:
        return _tell(client(ctx).wait_replay(made["id"]) if given["watch"] else made, as_json=given["as_json"])
    if given["as_json"]:
        print_json(made)
    else:
        print(f"{made['matched']} deliveries")
    return 0


@click.group("replays")
def replays_group() -> None:
    """List, show and cancel replays and recoveries."""


@replays_group.command("list")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@json_option
@click.pass_context
def list_replays(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List replays, newest first."""
    found = client(ctx).list_replays(limit=limit)["items"]
    if as_json:
        print_json(found)
        return
    rows = [
        (one["id"], one["action"], one["status"], f"{one['done']}/{one['matched']}", one["endpoint_id"] or "all")
        for one in found
    ]
    print_rows(rows, ("REPLAY", "ACTION", "STATUS", "DONE", "ENDPOINT"))


@replays_group.command("show")
@click.argument("replay_id", metavar="REPLAY")
@json_option
@click.pass_context
def show_replay(ctx: click.Context, replay_id: str, as_json: bool) -> None:
    """Show how far a replay has come."""
    _tell(client(ctx).get_replay(replay_id), as_json=as_json)


@replays_group.command("cancel")
@click.argument("replay_id", metavar="REPLAY")
@json_option
@click.pass_context
def cancel_replay(ctx: click.Context, replay_id: str, as_json: bool) -> None:
    """Stop a replay; what it has put in line is sent."""
    _tell(client(ctx).cancel_replay(replay_id), as_json=as_json)


def _tell(one: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        print_json(one)
    else:
        skipped = f", {one['skipped']} skipped" if one["skipped"] else ""
        print(f"{one['id']}  {one['action']}  {one['status']}  {one['done']} of {one['matched']} in line{skipped}")
    return CANCELLED if one["status"] == "cancelled" else 0
