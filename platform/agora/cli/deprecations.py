"""agora deprecations: what is deprecated, and who uses it."""

import click

from agora.cli.common import client, json_option, print_json, print_rows


@click.command("deprecations")
@json_option
@click.pass_context
def deprecations_command(ctx: click.Context, as_json: bool) -> None:
    """List what of the API is deprecated, until when it works, and which keys and users of the team use it."""
    found = client(ctx).deprecations()
    if as_json:
        print_json(found)
        return
    rows = [
        (one["feature"], (one["sunset_at"] or "-")[:10], use["actor_id"], str(use["uses"]), use["last_used_at"][:19])
        for one in found
        for use in one["used_by"]
    ]
    if rows:
        print_rows(rows, ("FEATURE", "SUNSET", "USED BY", "USES", "LAST"))
    else:
        print("nobody of the team uses what is deprecated")
