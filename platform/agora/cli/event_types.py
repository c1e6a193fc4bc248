"""agora event-types: what webhooks can tell of, and in which shape."""

import json
from typing import Any

import click

from agora.cli.common import client, json_option, print_json, print_rows


@click.command("event-types")
@click.argument("type", required=False)
@click.option("--markdown", is_flag=True, help="Print the page of this version's event types; asks no platform.")
@json_option
@click.pass_context
def event_types_command(ctx: click.Context, type: str | None, markdown: bool, as_json: bool) -> None:
    """List the types of events, or show one with its schema and an example."""
    if markdown:
        if type or as_json:
            raise click.UsageError("--markdown prints the whole page: it goes with no TYPE and no --json")
        from agora.events.page import as_markdown  # noqa: PLC0415

        print(as_markdown(), end="")
    elif type is None:
        _list(client(ctx).event_types(), as_json=as_json)
    else:
        _show(client(ctx).event_type(type), as_json=as_json)


def _list(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [(one["type"], str(one["version"]), _covered(one), one["description"]) for one in found]
    print_rows(rows, ("TYPE", "VERSION", "BY *", "WHEN"))


def _covered(one: dict[str, Any]) -> str:
    return "yes" if one["by_wildcard"] else "no"


def _show(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(one)
        return
    print(f"{one['type']}  version {one['version']}  by *: {_covered(one)}")
    print(one["description"])
    for title in ("example", "schema"):
        print(f"\n{title}:\n{json.dumps(one[title], indent=2, ensure_ascii=False)}")
