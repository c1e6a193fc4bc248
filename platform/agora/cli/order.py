"""Queues and limits."""

from typing import Any

import click

from agora.cli.common import client, json_option, print_json, print_rows


@click.group("queues", invoke_without_command=True)
@json_option
@click.pass_context
def queues_command(ctx: click.Context, as_json: bool) -> None:
    """List queues with how much work they hold; pause and resume them."""
    if ctx.invoked_subcommand is not None:
        return
    found = client(ctx).queues()
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["name"], "paused" if one["paused_at"] else "open", str(one["due"]), str(one["rung"]),
            str(one["running"]), str(sum(one["held"].values())), f"{one['age_seconds']:.1f} s",
            "-" if one["work_seconds"] is None else f"{one['work_seconds']:.1f} s",
        )
        for one in found
    ]  # fmt: skip
    print_rows(rows, ("QUEUE", "STATE", "DUE", "RUNG", "RUNNING", "HELD", "OLDEST", "WORK"))


@queues_command.command("pause")
@click.argument("name")
@click.option("--reason", default="")
@click.pass_context
def pause(ctx: click.Context, name: str, reason: str) -> None:
    """Pause a queue, for all teams: what runs ends, nothing new begins."""
    client(ctx).pause_queue(name, reason)
    print(f"{name}: paused")


@queues_command.command("resume")
@click.argument("name")
@click.pass_context
def resume(ctx: click.Context, name: str) -> None:
    """Let a queue go on."""
    client(ctx).resume_queue(name)
    print(f"{name}: open")


@click.group("limits")
def limits_command() -> None:
    """List, set and lift limits."""


@limits_command.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """The limits that concern the team."""
    found = client(ctx).limits()
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["target"], one["owner"], _shown(one["max_running"]), _shown(one["rate"]), str(one["running"]),
            str(one["waiting"]),
        )
        for one in found
    ]  # fmt: skip
    print_rows(rows, ("TARGET", "OWNER", "MAX RUNNING", "PER SECOND", "RUNNING", "WAITING"))


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:g}"


@limits_command.command("set")
@click.argument("target", metavar="*|AGENT|AGENT.ACTION")
@click.option("--max-running", type=click.IntRange(0))
@click.option("--rate", type=float, help="Starts per second.")
@click.option("--burst", type=click.IntRange(1), help="Starts at once after a pause.")
@click.option("--all-teams", is_flag=True, help="The operator's limit, over all teams: takes DATABASE_URL.")
@click.pass_context
def set_(ctx: click.Context, /, target: str, all_teams: bool, **fields: Any) -> None:
    """Set a limit; it holds at once."""
    if all_teams:
        from agora.jobs import limits  # noqa: PLC0415  # the operator's own access

        limits.put_limit(target, team_id=None, **fields)
    else:
        client(ctx).put_limit(target, **{name: value for name, value in fields.items() if value is not None})
    print(f"{target}: set")


@limits_command.command("lift")
@click.argument("target", metavar="*|AGENT|AGENT.ACTION")
@click.option("--all-teams", is_flag=True, help="The operator's limit, over all teams: takes DATABASE_URL.")
@click.pass_context
def lift(ctx: click.Context, target: str, all_teams: bool) -> None:
    """Lift a limit: whoever waits there is let in."""
    if all_teams:
        from agora.jobs import limits  # noqa: PLC0415  # the operator's own access

        limits.delete_limit(target, team_id=None)
    else:
        client(ctx).delete_limit(target)
    print(f"{target}: lifted")
