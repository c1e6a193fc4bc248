"""agora holds: keep jobs from being removed."""

import click

from agora.cli.common import client, json_option, print_json, print_rows, read_json


@click.group("holds")
def holds_command() -> None:
    """Keep jobs from being removed by retention, and let them go again."""


@holds_command.command("create")
@click.argument("name")
@click.option("--metadata", required=True, help="JSON, @file or -: jobs whose metadata contains it are kept.")
@json_option
@click.pass_context
def create(ctx: click.Context, name: str, metadata: str, as_json: bool) -> None:
    """Keep every job with this metadata."""
    hold = client(ctx).create_hold(name, read_json(metadata, "--metadata"))
    if as_json:
        print_json(hold)
    else:
        print(hold["id"])


@holds_command.command("list")
@click.option("--released", is_flag=True, help="Also those that have ended.")
@json_option
@click.pass_context
def list_(ctx: click.Context, released: bool, as_json: bool) -> None:
    """List holds in force, newest first."""
    found = client(ctx).list_holds(limit=200, released=released)["items"]
    if as_json:
        print_json(found)
        return
    rows = [
        (one["id"], one["name"], one["created_at"][:19], (one["released_at"] or "in force")[:19], str(one["metadata"]))
        for one in found
    ]
    print_rows(rows, ("HOLD", "NAME", "CREATED", "RELEASED", "METADATA"))


@holds_command.command("release")
@click.argument("hold_id")
@json_option
@click.pass_context
def release(ctx: click.Context, hold_id: str, as_json: bool) -> None:
    """End a hold."""
    hold = client(ctx).release_hold(hold_id)
    if as_json:
        print_json(hold)
    else:
        print(f"{hold['id']}  released")
