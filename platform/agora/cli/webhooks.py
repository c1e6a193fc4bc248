"""webhooks: endpoints, their deliveries, sending again, export and import, signing keys."""

from collections.abc import Iterator
from typing import Any

import click

from agora.cli.common import client, if_match_option, json_option, print_etag, print_json, print_rows, read_json
from agora.cli.portal import portal_link_command, portal_links_command, portal_revoke_command
from agora.cli.webhook_exchange import export_command, import_command
from agora.cli.webhook_keys import keys_group
from agora.cli.webhook_sends import deliveries_group, recover_command, replay_command, replays_group

SHOWN = (
    "description", "agents", "projects", "metadata_filter", "headers", "schedule", "rate_limit", "fifo", "metadata"
)  # fmt: skip


@click.group("webhooks")
def webhooks_command() -> None:
    """Endpoints and what they get. An endpoint is named by its id or its uid."""


@webhooks_command.group("endpoints")
def endpoints_group() -> None:
    """Make, list, show, change, pause, resume, test and delete endpoints."""


for command in (deliveries_group, recover_command, replay_command, replays_group, export_command, import_command):
    webhooks_command.add_command(command)
webhooks_command.add_command(keys_group)
for command in (portal_link_command, portal_links_command, portal_revoke_command):
    webhooks_command.add_command(command)


def _fields(function: Any) -> Any:
    for option in (
        click.option("--type", "event_types", multiple=True, help="An event type, or a beginning such as job.*"),
        click.option("--description"),
        click.option("--uid", help="A name of your own."),
        click.option("--agent", "agents", multiple=True, help="Only what is about this agent's jobs."),
        click.option("--project", "projects", multiple=True, help="Only what is about this project."),
        click.option("--metadata-filter", help="Only what is about jobs with this metadata: JSON, @file or -."),
        click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header of your own."),
        click.option("--schedule", metavar="SECONDS,…", help="Pauses before the tries, one for each."),
        click.option("--max-in-flight", type=click.IntRange(1, 1000), help="Deliveries at a time."),
        click.option("--rate-limit", type=float, metavar="N", help="Deliveries per second."),
        click.option("--fifo", type=click.Choice(["endpoint", "job", "project"]), help="Keep the order within these."),
        click.option("--payload", type=click.Choice(["thin", "full"])),
        click.option("--metadata", help="JSON, @file or -."),
    ):
        function = option(function)
    return function


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """What was given, in the form that the API takes."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    given |= {name: list(given[name]) for name in ("event_types", "agents", "projects") if name in given}
    if "headers" in given:
        given["headers"] = dict(_header(text) for text in given["headers"])
    if "schedule" in given:
        given["schedule"] = _pauses(given["schedule"])
    for name in {"metadata", "metadata_filter"} & given.keys():
        given[name] = read_json(given[name], f"--{name.replace('_', '-')}")
    return given


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise click.UsageError("--header must be NAME:VALUE")
    return name.strip(), value.strip()


def _pauses(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.UsageError(f"--schedule must be seconds with commas in between, not {text!r}") from None


@endpoints_group.command("create")
@click.argument("url")
@click.option("--secret", help="A secret of your own, whsec_… or whsk_…; one is made without.")
@click.option("--algorithm", type=click.Choice(["v1", "v1a"]), help="Of the secret that is made.")
@_fields
@json_option
@click.pass_context
def create(ctx: click.Context, /, url: str, as_json: bool, **options: Any) -> None:
    """Make an endpoint; its secret is shown this once."""
    made = client(ctx).create_endpoint(url, **_given(options))
    if as_json:
        print_json(made)
    else:
        _show(made)
        print(f"secret: {made['secret']}")


@endpoints_group.command("update")
@click.argument("ref", metavar="ENDPOINT")
@if_match_option
@click.option("--url")
@_fields
@json_option
@click.pass_context
def update(ctx: click.Context, /, ref: str, if_match: str | None, as_json: bool, **options: Any) -> None:
    """Change an endpoint; what is not given stays."""
    _tell(client(ctx).update_endpoint(ref, if_match=if_match, **_given(options)), as_json=as_json)


@endpoints_group.command("list")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@json_option
@click.pass_context
def list_(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List endpoints, newest first."""
    found = client(ctx).list_endpoints(limit=limit)["items"]
    if as_json:
        print_json(found)
        return
    rows = [(one["id"], one["uid"] or "-", one["status"], " ".join(one["event_types"]), one["url"]) for one in found]
    print_rows(rows, ("ENDPOINT", "UID", "STATUS", "EVENTS", "URL"))


@endpoints_group.command("show")
@click.argument("ref", metavar="ENDPOINT")
@json_option
@click.pass_context
def show(ctx: click.Context, ref: str, as_json: bool) -> None:
    """Show an endpoint."""
    _tell(client(ctx).get_endpoint(ref), as_json=as_json)


@endpoints_group.command("delete")
@click.argument("ref", metavar="ENDPOINT")
@click.pass_context
def delete(ctx: click.Context, ref: str) -> None:
    """Delete an endpoint; what it has not got yet is cancelled."""
    client(ctx).delete_endpoint(ref)
    print(f"{ref}  deleted")


@endpoints_group.command("pause")
@click.argument("ref", metavar="ENDPOINT")
@json_option
@click.pass_context
def pause(ctx: click.Context, ref: str, as_json: bool) -> None:
    """Send it nothing until it is resumed; what comes is held."""
    _tell(client(ctx).pause_endpoint(ref), as_json=as_json)


@endpoints_group.command("resume")
@click.argument("ref", metavar="ENDPOINT")
@json_option
@click.pass_context
def resume(ctx: click.Context, ref: str, as_json: bool) -> None:
    """Send it what comes, and at a pace what was held."""
    _tell(client(ctx).resume_endpoint(ref), as_json=as_json)


@endpoints_group.command("test")
@click.argument("ref", metavar="ENDPOINT")
@click.option("--type", "event_type", help="Send the example of this event type; default: webhook.test.")
@json_option
@click.pass_context
def test(ctx: click.Context, ref: str, event_type: str | None, as_json: bool) -> None:
    """Send it a test event: prints the delivery's id."""
    made = client(ctx).test_endpoint(ref, event_type)
    if as_json:
        print_json(made)
    else:
        print(made["id"])


@endpoints_group.command("stats")
@click.argument("ref", metavar="ENDPOINT")
@click.option("--window", type=float, metavar="SECONDS", help="How far back; default: a day.")
@json_option
@click.pass_context
def stats(ctx: click.Context, ref: str, window: float | None, as_json: bool) -> None:
    """Show how an endpoint does: success, times, its last error, what it is still to get."""
    found = client(ctx).endpoint_stats(ref, window)
    if as_json:
        print_json(found)
        return
    for line in _lines(found):
        print(line)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    more = "" if found["complete"] else " (the last ones; there are more)"
    yield f"{found['endpoint_id']}  {found['status']}{_because(found)}"
    yield f"{found['deliveries']} deliveries in {found['window']:g} s{more}: {_counts(found['statuses'])}"
    ended, tries = _share(found["delivery_success_rate"]), _share(found["try_success_rate"])
    yield f"success: {ended} of those ended, {tries} of {found['tries']} tries"
    yield f"answers: p50 {_ms(found['p50_ms'])}, p95 {_ms(found['p95_ms'])}"
    yield f"now: {found['in_flight']} in flight, {found['pending']} pending, {found['held']} held"
    if found["last_success_at"]:
        yield f"last success: {found['last_success_at']}"
    last = found["last_failure"]
    if last:
        error = f"{last['error_class'] or '-'}: {last['error'] or '-'}"
        yield f"last failure: {last['at']}  {last['delivery_id']}  {error}"
    if found["open_until"]:
        yield f"rests until {found['open_until']}"
    if found["disabled_at"]:
        yield f"fails since {found['failing_since']}; is disabled at {found['disabled_at']} unless a delivery succeeds"


def _because(one: dict[str, Any]) -> str:
    return f" ({one['status_reason']})" if one["status_reason"] else ""


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counted.items() if count) or "none"


def _share(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _tell(endpoint: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(endpoint)
    else:
        _show(endpoint)
        print_etag(endpoint)


def _show(one: dict[str, Any]) -> None:
    print(f"{one['id']}  {one['uid'] or '-'}  {one['status']}{_because(one)}  {one['url']}")
    print(f"events: {' '.join(one['event_types'])}")
    for name in SHOWN:
        if one.get(name):
            print(f"{name}: {one[name]}")
    if one["failing_since"]:
        print(f"fails since {one['failing_since']}, {one['consecutive_failures']} times in a row")
