"""API keys."""

from datetime import datetime
from typing import Any

import click

from agora.cli.common import client, json_option, print_json, print_rows

MOMENT = click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"])


@click.group("keys")
def keys_command() -> None:
    """Make, list, pin, rotate and revoke API keys."""


@keys_command.command("create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, default=("*",), show_default=True)
@click.option("--requests-per-minute", type=click.IntRange(1), help="Of this key alone, beside its team's limit.")
@json_option
@click.pass_context
def create(
    ctx: click.Context, name: str, scopes: tuple[str, ...], requests_per_minute: int | None, as_json: bool
) -> None:
    """Make a key; its text is shown this once."""
    key = client(ctx).create_key(name, list(scopes), requests_per_minute=requests_per_minute)
    if as_json:
        print_json(key)
    else:
        print(key["secret"])


@keys_command.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List keys."""
    found = client(ctx).list_keys()
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["id"], one["name"], one["prefix"], " ".join(one["scopes"]), one["api_version"], _state(one),
            one["created_by"] or "operator",
        )
        for one in found
    ]  # fmt: skip
    print_rows(rows, ("KEY", "NAME", "PREFIX", "SCOPES", "VERSION", "STATE", "MADE BY"))


def _state(key: dict[str, Any]) -> str:
    return "revoked" if key["revoked_at"] else "valid"


@keys_command.command("pin")
@click.argument("key_id")
@click.argument("version")
@json_option
@click.pass_context
def pin(ctx: click.Context, key_id: str, version: str, as_json: bool) -> None:
    """Pin a key to a VERSION of the API, such as 2026-11-30: requests that name none speak it."""
    key = client(ctx).pin_key(key_id, version)
    if as_json:
        print_json(key)
    else:
        print(f"{key_id}  {key['api_version']}")


@keys_command.command("rotate")
@click.argument("key_id")
@click.option("--overlap", type=float, help="Seconds for which the old key still works; a day by default.")
@click.option("--expires-at", type=MOMENT, help="Of the new key; else it lives as long as the old one was to.")
@json_option
@click.pass_context
def rotate(
    ctx: click.Context, key_id: str, overlap: float | None, expires_at: datetime | None, as_json: bool
) -> None:  # fmt: skip
    """Make a key like another one, and let that one run out; the new text is shown this once."""
    key = client(ctx).rotate_key(key_id, overlap=overlap, expires_at=expires_at)
    if as_json:
        print_json(key)
    else:
        print(key["secret"])


@keys_command.command("revoke")
@click.argument("key_id")
@click.pass_context
def revoke(ctx: click.Context, key_id: str) -> None:
    """Revoke a key."""
    client(ctx).revoke_key(key_id)
    print(f"{key_id}  revoked")
