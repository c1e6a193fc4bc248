"""webhooks portal-link, portal-links, portal-revoke: links with which a customer manages their endpoints on a page."""

import json
import re
from collections.abc import Sequence
from typing import Any

import click

from agora.cli.common import client, json_option, print_json, print_rows, read_json

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Length(click.ParamType[int]):
    """A length of time such as 90s, 30m, 1h or 7d, in seconds."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]{1,9})([smhd])", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no length of time such as 90s, 30m, 1h or 7d", param, ctx)
        return int(found[1]) * UNITS[found[2]]


@click.command("portal-link")
@click.option(
    "--scope",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Opens the endpoints whose metadata contains this; values are texts, or give a JSON object. Repeatable.",
)
@click.option("--all-endpoints", is_flag=True, help="Every endpoint of the team, where no --scope is given.")
@click.option("--expires", type=Length(), help="How long it works: 90s, 30m, 1h, 7d; default: an hour.")
@click.option("--read-only", is_flag=True, help="It may look, and change nothing.")
@click.option("--label", default="", help="Who it is for; the page shows it.")
@json_option
@click.pass_context
def portal_link_command(
    ctx: click.Context,
    /,
    pairs: tuple[str, ...],
    all_endpoints: bool,
    expires: int | None,
    read_only: bool,
    label: str,
    as_json: bool,
) -> None:
    """Make a link to the webhook portal. Its URL is printed this once."""
    made = client(ctx).create_portal_link(
        scope_of(pairs) if pairs else None, all_endpoints=all_endpoints, read_only=read_only, label=label,
        expires_in=expires,
    )  # fmt: skip
    if as_json:
        print_json(made)
    else:
        print(made["url"])


def scope_of(pairs: Sequence[str]) -> dict[str, Any]:
    """A scope from ``key=value`` texts and JSON objects."""
    found: dict[str, Any] = {}
    for text in pairs:
        if text.startswith("{"):
            found |= read_json(text, "--scope")
            continue
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise click.UsageError(f"--scope must be KEY=VALUE or a JSON object, not {text!r}")
        found[key] = value
    return found


@click.command("portal-links")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@json_option
@click.pass_context
def portal_links_command(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List links to the webhook portal, newest first; never their URLs."""
    found = client(ctx).list_portal_links(limit=limit)["items"]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["id"],
            one["status"],
            "read" if one["read_only"] else "manage",
            one["expires_at"],
            _scope(one),
            one["label"],
        )
        for one in found
    ]
    print_rows(rows, ("LINK", "STATUS", "MAY", "EXPIRES", "SCOPE", "LABEL"))


def _scope(link: dict[str, Any]) -> str:
    return "all endpoints" if link["all_endpoints"] else json.dumps(link["scope"], ensure_ascii=False)


@click.command("portal-revoke")
@click.argument("link_id", metavar="LINK")
@click.pass_context
def portal_revoke_command(ctx: click.Context, link_id: str) -> None:
    """Revoke a link: the pages that it opened answer no more."""
    client(ctx).revoke_portal_link(link_id)
    print(f"{link_id}  revoked")
