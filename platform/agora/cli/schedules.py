"""schedules: make, list, show, change, pause, resume, run and delete."""

from typing import Any

import click

from agora.cli.common import client, if_match_option, json_option, print_etag, print_json, print_rows, read_json

CATCH_UP = click.Choice(["skip", "one", "all"])
MOMENT = click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"])


@click.group("schedules")
def schedules_command() -> None:
    """Jobs by cron, at an interval, or once. A schedule is named by its id or its name."""


def _times(function: Any) -> Any:
    for option in (
        click.option("--cron", help='Five fields, such as "30 6 * * 1-5".'),
        click.option("--timezone", metavar="ZONE", help="Of the cron; an IANA name, such as Europe/Berlin."),
        click.option("--every", type=float, metavar="SECONDS", help="An interval."),
        click.option("--at", type=MOMENT, help="One moment with its zone, such as 2030-01-01T06:00+01:00."),
        click.option("--ends-at", type=MOMENT, help="No fire time after this."),
        click.option("--catch-up", type=CATCH_UP, help="What becomes of times that passed unfired; default: one."),
        click.option("--priority", type=click.IntRange(0, 9)),
        click.option("--budget", help="What each job may spend: JSON as for submit, null for any amount; @file or -."),
    ):
        function = option(function)
    return function


@schedules_command.command("create")
@click.argument("name")
@click.argument("target", metavar="AGENT.ACTION")
@click.option("--input", "-i", "given", default="{}", help="JSON, @file or - for standard input.")
@click.option("--metadata", default="{}", help="JSON, @file or -.")
@_times
@json_option
@click.pass_context
def create(
    ctx: click.Context, /, name: str, target: str, given: str, metadata: str, as_json: bool, **times: Any
) -> None:
    """Make a schedule: one of --cron, --every and --at."""
    agent, dot, action = target.rpartition(".")
    if not dot:
        raise click.UsageError(f"the target must be AGENT.ACTION, not {target!r}")
    made = client(ctx).create_schedule(
        name, agent, action, read_json(given, "--input"), metadata=read_json(metadata, "--metadata"), **_given(times)
    )
    _show(made, as_json=as_json)


@schedules_command.command("update")
@click.argument("ref", metavar="SCHEDULE")
@if_match_option
@click.option("--input", "-i", "given", help="JSON, @file or - for standard input.")
@_times
@json_option
@click.pass_context
def update(
    ctx: click.Context, /, ref: str, if_match: str | None, given: str | None, as_json: bool, **times: Any
) -> None:
    """Change a schedule; what is not given stays."""
    fields = _given(times)
    if given is not None:
        fields["input"] = read_json(given, "--input")
    _show(client(ctx).update_schedule(ref, if_match=if_match, **fields), as_json=as_json)


def _given(times: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in times.items() if value is not None}
    return given | ({"budget": read_json(given["budget"], "--budget")} if "budget" in given else {})


@schedules_command.command("list")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@json_option
@click.pass_context
def list_(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List schedules, newest first."""
    found = client(ctx).list_schedules(limit=limit)["items"]
    if as_json:
        print_json(found)
        return
    rows = [
        (one["name"], f"{one['agent']}.{one['action']}", one["status"], _when(one), one["next_fire_at"] or "-")
        for one in found
    ]
    print_rows(rows, ("SCHEDULE", "ACTION", "STATUS", "WHEN", "NEXT"))


def _when(one: dict[str, Any]) -> str:
    if one["cron"]:
        return f"{one['cron']} {one['timezone']}"
    return f"every {one['every']:g} s" if one["every"] else f"at {one['at']}"


@schedules_command.command("show")
@click.argument("ref", metavar="SCHEDULE")
@json_option
@click.pass_context
def show(ctx: click.Context, ref: str, as_json: bool) -> None:
    """Show a schedule with its next ten fire times."""
    _show(client(ctx).get_schedule(ref), as_json=as_json)


@schedules_command.command("runs")
@click.argument("ref", metavar="SCHEDULE")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@json_option
@click.pass_context
def runs(ctx: click.Context, ref: str, limit: int, as_json: bool) -> None:
    """Show what became of its fire times, newest first."""
    found = client(ctx).schedule_runs(ref, limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [(one["fire_at"], one["outcome"], one["job_id"] or (one["error"] or {}).get("message", "")) for one in found]
    print_rows(rows, ("FIRE TIME", "OUTCOME", "JOB"))


@schedules_command.command("pause")
@click.argument("ref", metavar="SCHEDULE")
@json_option
@click.pass_context
def pause(ctx: click.Context, ref: str, as_json: bool) -> None:
    """Let it fire no more until it is resumed."""
    _show(client(ctx).pause_schedule(ref), as_json=as_json)


@schedules_command.command("resume")
@click.argument("ref", metavar="SCHEDULE")
@json_option
@click.pass_context
def resume(ctx: click.Context, ref: str, as_json: bool) -> None:
    """Let it fire again, from now on."""
    _show(client(ctx).resume_schedule(ref), as_json=as_json)


@schedules_command.command("run")
@click.argument("ref", metavar="SCHEDULE")
@json_option
@click.pass_context
def run(ctx: click.Context, ref: str, as_json: bool) -> None:
    """Make its job now: prints the job's id."""
    job = client(ctx).run_schedule(ref)
    if as_json:
        print_json(job)
    else:
        print(job["id"])


@schedules_command.command("delete")
@click.argument("ref", metavar="SCHEDULE")
@click.pass_context
def delete(ctx: click.Context, ref: str) -> None:
    """Delete it; its jobs stay."""
    client(ctx).delete_schedule(ref)
    print(f"{ref}  deleted")


def _show(schedule: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(schedule)
        return
    target = f"{schedule['agent']}.{schedule['action']}"
    print(f"{schedule['id']}  {schedule['name']}  {target}  {schedule['status']}  {_when(schedule)}")
    if schedule["last_error"]:
        print(f"failed {schedule['failures']} times in a row: {schedule['last_error']['message']}")
    for moment in schedule["next"]:
        print(f"  {moment}")
    print_etag(schedule)
