"""webhooks export, import: endpoints in bulk, one JSON object a line."""

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

import click

from agora.cli.common import client, json_option, print_json, print_rows
from agora.client import Agora, ApiError

MOST = 1_000
FAILED = 1
PLACE = re.compile(r"/endpoints/(\d+)/?(.*)")

Lines = Sequence[tuple[int, dict[str, Any]]]
"""Endpoints with the numbers of their lines."""


@click.command("export")
@click.pass_context
def export_command(ctx: click.Context) -> None:
    """Print every endpoint, one JSON object a line; secrets are left out."""
    for one in client(ctx).export_endpoints():
        print(json.dumps(one, ensure_ascii=False))


@click.command("import")
@click.argument("file", type=click.File())
@click.option("--dry-run", is_flag=True, help="Only say what would become of each.")
@json_option
@click.pass_context
def import_command(ctx: click.Context, file: Any, dry_run: bool, as_json: bool) -> int:
    """Make or change the endpoints of FILE, one JSON object a line (- for standard input): all of them or none.

    An endpoint is found again by its uid, without one by its id. Secrets of new ones are printed this once. More than
    1,000 are all checked first, and then brought in by thousands, each of these all or none.
    """
    lines = [(number, _endpoint_of(line, number)) for number, line in enumerate(file, 1) if line.strip()]
    if not lines:
        raise click.UsageError("the file has no endpoints")
    parts = [lines[start : start + MOST] for start in range(0, len(lines), MOST)]
    api = client(ctx)
    checked = [_sent(api, part, dry_run=True) for part in parts] if dry_run or len(parts) > 1 else []
    if None in checked:
        return FAILED
    for done in checked if dry_run else (_sent(api, part, dry_run=False) for part in parts):
        if done is None:
            return FAILED
        _show(done, as_json=as_json)
    return 0


def _endpoint_of(line: str, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise click.UsageError(f"line {number} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"line {number} is no JSON object")
    return found


def _sent(api: Agora, part: Lines, *, dry_run: bool) -> dict[str, Any] | None:
    """What came of it; None: it was refused, and every fault is told with its line."""
    try:
        return api.import_endpoints([endpoint for _, endpoint in part], dry_run=dry_run)
    except ApiError as error:
        told = [_told(fault, part) for fault in error.errors]
        if not told:
            raise
        for line in told:
            print(line, file=sys.stderr)
        return None


def _told(fault: Any, part: Lines) -> str:
    place = PLACE.fullmatch(fault["pointer"])
    if place is None:
        return f"{fault['pointer']}: {fault['message']}"
    named = fault["message"].startswith(place[2].partition("/")[0])
    field = "" if named else f"{place[2]}: "
    return f"line {part[int(place[1])][0]}: {field}{fault['message']}"


def _show(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    rows = [
        (one["action"], one["id"] or "-", one["uid"] or "-", one["secret"] or "")
        for one in done["endpoints"]
        if one["action"] != "unchanged"
    ]
    if rows:
        print_rows(rows, ("BECAME", "ENDPOINT", "UID", "SECRET"))
    would = "would be " if done["dry_run"] else ""
    print(f"{would}{done['created']} created, {done['updated']} updated, {done['unchanged']} unchanged")
