"""agora audit: list and export the log over the API; verify its chains on the auth database."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agora.cli.common import Command, client, json_option, print_json, print_rows

if TYPE_CHECKING:
    from agora.audit.verify import Report


@click.group("audit")
def audit_command() -> None:
    """Who did what: list, export, and check that nothing was changed afterwards."""


def filters(function: Command) -> Command:
    """Add the options that choose entries."""
    options: list[Callable[[Command], Command]] = [
        click.option("--actor", help="Id of the key, user or portal link that acted."),
        click.option("--action", help="An action, or the beginning of some: 'key.*'."),
        click.option("--object-type", help="Such as job or webhook_endpoint."),
        click.option("--object", "object_id", help="Id of what it was done to."),
        click.option("--address", help="Where it came from."),
        click.option("--since", help="Not before this RFC 3339 time."),
        click.option("--until", help="Before this RFC 3339 time."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


AS_ADMIN = click.option(
    "--as-admin", is_flag=True, help="What concerns no team, over the API: --key is an administrator's access token."
)


@audit_command.command("list")
@filters
@AS_ADMIN
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--platform", is_flag=True, help="What concerns no team, from the auth database (AUTH_DATABASE_URL).")
@json_option
@click.pass_context
def list_(ctx: click.Context, /, as_json: bool, platform: bool, as_admin: bool, **query: Any) -> None:
    """List entries of the team, newest first."""
    if platform and as_admin:
        raise click.UsageError("--platform reads the database, --as-admin asks the API: give one of them")
    found = _of_platform(**query) if platform else _over_api(ctx, as_admin, query)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["at"][:19], one["action"], f"{one['object_type']} {one['object_id']}", _who(one), one["address"] or "-",
        )
        for one in found
    ]  # fmt: skip
    print_rows(rows, ("AT", "ACTION", "OBJECT", "WHO", "FROM"))


def _over_api(ctx: click.Context, as_admin: bool, query: dict[str, Any]) -> list[dict[str, Any]]:
    api = client(ctx)
    page = api.list_platform_audit(**query) if as_admin else api.list_audit(**query)
    found: list[dict[str, Any]] = page["items"]
    return found


def _of_platform(*, limit: int, since: str | None, until: str | None, **query: Any) -> list[dict[str, Any]]:
    from agora.audit import service  # noqa: PLC0415
    from agora.audit.acting import PLATFORM  # noqa: PLC0415
    from agora.audit.types import Filter  # noqa: PLC0415

    filters = Filter(since=_moment(since), until=_moment(until), **query)
    found = service.list_entries(filters, team_id=PLATFORM, limit=limit).items
    return [{**asdict(one), "at": service.told(one.at)} for one in found]


def _moment(written: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(written) if written is not None else None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if found is not None and found.tzinfo is None:
        raise click.UsageError(f"{written} has no offset from UTC")
    return found


def _who(one: dict[str, Any]) -> str:
    """The kind, and the name by which people know them."""
    return f"{one['actor_kind']} {one['actor_name'] or one['actor_id'] or ''}".strip()


@audit_command.command("export")
@filters
@AS_ADMIN
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Default: standard output.")
@click.pass_context
def export(ctx: click.Context, /, output: Path | None, as_admin: bool, **query: Any) -> None:
    """Write entries of the team as CSV."""
    api = client(ctx)
    written = api.export_platform_audit(**query) if as_admin else api.export_audit(**query)
    if output is None:
        sys.stdout.buffer.write(written)
        return
    output.write_bytes(written)
    click.echo(f"{output}: {len(written):,} bytes")


@audit_command.command("verify")
@click.option("--team", metavar="TEAM", help="One team, by handle or id, or `platform`. Default: every chain.")
@click.option("--expect", metavar="SEQ:HASH", help="A head of that team's chain that was kept elsewhere.")
@json_option
def verify(team: str | None, expect: str | None, as_json: bool) -> int:
    """Recompute the chains on the auth database (AUTH_DATABASE_URL); exit code 1 if one was tampered with.

    Keep the head that it prints somewhere else: whoever may write the whole database can make a new chain, which only
    --expect finds.
    """
    from agora.audit import verify as checks  # noqa: PLC0415
    from agora.audit.acting import PLATFORM  # noqa: PLC0415
    from agora.teams.service import find_team  # noqa: PLC0415

    if expect is not None and team is None:
        raise click.UsageError("--expect is about one chain: give --team as well")
    expected = checks.parse_expected(expect) if expect is not None else None
    names = checks.chained_teams() if team is None else [team if team == PLATFORM else find_team(team)[0]]
    reports = [checks.verify(name, expected=expected) for name in names]
    if as_json:
        print_json([{name: getattr(one, name) for name in one.__slots__} for one in reports])
    else:
        for report in reports:
            click.echo(_told(report))
    return 1 if any(report.fault for report in reports) else 0


def _told(report: "Report") -> str:
    if report.fault is not None:
        where = f" at entry {report.bad_seq}" if report.bad_seq is not None else ""
        which = f" ({report.bad_id})" if report.bad_id is not None else ""
        return f"{report.team_id}  BROKEN{where}{which}: {report.fault}"
    kept = f", kept from {report.anchor_seq + 1} on" if report.anchor_seq else ""
    waiting = f", {report.waiting:,} not chained yet" if report.waiting else ""
    return f"{report.team_id}  ok: {report.entries:,} entries{kept}{waiting}; head {report.seq}:{report.hash}"
