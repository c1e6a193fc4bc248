"""webhooks keys: what signs for an endpoint, or for the team."""

from typing import Any

import click

from agora.cli.common import client, json_option, print_json, print_rows


@click.group("keys")
def keys_group() -> None:
    """List, add, rotate and revoke signing keys: of an endpoint, or, without --endpoint, the team's own.

    The team's own keys sign the webhooks of jobs that bring no secret.
    """


def _of(function: Any) -> Any:
    option = click.option("--endpoint", "ref", metavar="ENDPOINT", help="Its id or uid; without: the team's own keys.")
    return option(function)


def _secret(function: Any) -> Any:
    for option in (
        click.option("--secret", help="One of your own: whsec_… (v1) or whsk_… (v1a); one is made without."),
        click.option("--algorithm", type=click.Choice(["v1", "v1a"]), help="Of the one that is made; default: v1."),
    ):
        function = option(function)
    return function


@keys_group.command("list")
@_of
@json_option
@click.pass_context
def list_(ctx: click.Context, ref: str | None, as_json: bool) -> None:
    """List the keys that sign, newest first."""
    found = client(ctx).list_webhook_keys(ref)
    if as_json:
        print_json(found)
        return
    rows = [
        (one["id"], one["algorithm"], one["created_at"][:19], one["expires_at"] or "-", one["public_key"] or "-")
        for one in found
    ]
    print_rows(rows, ("KEY", "ALGORITHM", "CREATED", "SIGNS UNTIL", "PUBLIC KEY"))


@keys_group.command("add")
@_of
@_secret
@json_option
@click.pass_context
def add(ctx: click.Context, /, ref: str | None, as_json: bool, **fields: Any) -> None:
    """Let one more key sign; its secret is shown this once."""
    _show(client(ctx).add_webhook_key(ref, **_given(fields)), as_json=as_json)


@keys_group.command("rotate")
@_of
@_secret
@click.option("--overlap", type=float, metavar="SECONDS", help="The older keys sign so much longer; default: a day.")
@json_option
@click.pass_context
def rotate(ctx: click.Context, /, ref: str | None, as_json: bool, **fields: Any) -> None:
    """Make a new key; the older ones sign beside it for a while. Its secret is shown this once."""
    _show(client(ctx).rotate_webhook_key(ref, **_given(fields)), as_json=as_json)


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _show(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    print(f"{made['id']}  {made['algorithm']}  {made['secret']}")
    if made["public_key"]:
        print(f"public key: {made['public_key']}")


@keys_group.command("revoke")
@click.argument("key_id", metavar="KEY")
@_of
@click.pass_context
def revoke(ctx: click.Context, key_id: str, ref: str | None) -> None:
    """Let a key sign no more, from now on."""
    client(ctx).revoke_webhook_key(key_id, ref)
    print(f"{key_id}  revoked")
