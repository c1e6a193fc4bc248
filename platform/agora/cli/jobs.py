"""submit, jobs, watch, cancel, answer."""

import sys
from collections.abc import Iterator
from typing import Any

import click

from agora.cli.common import client, json_option, print_json, print_rows, read_json
from agora.cli.progress import follow
from agora.cli.spent import spent, waiting

FAILED = 1


@click.command("submit")
@click.argument("target", metavar="AGENT.ACTION")
@click.option("--input", "-i", "given", default="{}", help="JSON, @file or - for standard input.")
@click.option("--priority", type=click.IntRange(0, 9), default=5, show_default=True)
@click.option("--metadata", default="{}", help="JSON, @file or -.")
@click.option("--webhook", help="URL to call back when the job has ended.")
@click.option("--budget", default="null", help='JSON, such as {"max_tokens": 9000, "on_exceeded": "ask"}; @file or -.')
@click.option("--idempotency-key", help="A repeat with the same key makes no second job.")
@click.option("--concurrency-key", help="Jobs with the same key run one after the other.")
@click.option("--concurrency-limit", type=click.IntRange(1), help="How many of them run at once; default 1.")
@click.option("--concurrency-policy", type=click.Choice(["queue", "cancel_running", "reject"]))
@click.option("--unique", help="A key: while a job with it is open, it is the job.")
@click.option("--unique-window", type=float, metavar="SECONDS", help="With --unique: or is younger than this.")
@click.option("--debounce", type=(str, float), help="KEY SECONDS: run so long after the last submit with the key.")
@click.option("--debounce-max", type=float, metavar="SECONDS", help="And no later than this after the first of them.")
@click.option("--watch", is_flag=True, help="Follow the job until it ends.")
@json_option
@click.pass_context
def submit_command(ctx: click.Context, /, target: str, given: str, as_json: bool, watch: bool, **options: Any) -> int:
    """Submit a job."""
    agent, dot, action = target.rpartition(".")
    if not dot:
        raise click.UsageError(f"the target must be AGENT.ACTION, not {target!r}")
    api = client(ctx)
    webhook = {"url": options["webhook"]} if options["webhook"] else None
    job = api.submit(
        agent, action, read_json(given, "--input"), priority=options["priority"],
        metadata=read_json(options["metadata"], "--metadata"), webhook=webhook,
        budget=read_json(options["budget"], "--budget"), idempotency_key=options["idempotency_key"],
        **_twins(options),
        **{name: value for name, value in options.items() if name.startswith("concurrency_")},
    )  # fmt: skip
    if watch:
        return follow(api, job["id"], as_json=as_json)
    if as_json:
        print_json(job)
    else:
        print(job["id"])
        if "webhook_secret" in job:
            print(f"webhook secret, shown this once: {job['webhook_secret']}", file=sys.stderr)
    return 0


def _twins(options: dict[str, Any]) -> dict[str, Any]:
    """What the options say of other jobs with the same key, as ``submit`` takes it. Raises UsageError."""
    unique, debounce = options["unique"], options["debounce"]
    for option, key, value in (
        ("--unique-window", unique, options["unique_window"]), ("--debounce-max", debounce, options["debounce_max"])
    ):  # fmt: skip
        if value is not None and key is None:
            raise click.UsageError(f"{option} needs {option.rpartition('-')[0]}")
    return {
        "unique": None if unique is None else _given(key=unique, window=options["unique_window"]),
        "debounce": None if debounce is None else _given(
            key=debounce[0], window=debounce[1], max_wait=options["debounce_max"]
        ),
    }  # fmt: skip


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


@click.command("jobs")
@click.argument("job_id", required=False)
@click.option("--status", multiple=True)
@click.option("--agent")
@click.option("--where", multiple=True, metavar="KEY:VALUE", help="Metadata; or one JSON object.")
@click.option("--parent", "parent_id", help="Only the jobs that this one spawned.")
@click.option("--items", "step", help="With a job: the items of this map step.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@click.pass_context
def jobs_command(ctx: click.Context, /, job_id: str | None, limit: int, as_json: bool, **options: Any) -> int:
    """List jobs, newest first; or show one, or the items of one of its map steps."""
    api, status, step = client(ctx), options["status"], options["step"]
    if step and not job_id:
        raise click.UsageError("--items needs a job")
    if job_id and step:
        items = list(_first(api.iter_items(job_id, step, status=list(status) or None), limit))
        return _show_items(items, as_json=as_json)
    if job_id:
        job = api.get_job(job_id)
        if as_json:
            print_json(job)
        else:
            _show(job)
        return 0
    filters = {"status": list(status) or None, "agent": options["agent"], "parent_id": options["parent_id"]}
    filters["metadata"] = list(options["where"]) or None
    found = list(_first(api.iter_jobs(**filters, limit=min(limit, 200)), limit))
    if as_json:
        print_json(found)
        return 0
    rows = [
        (job["id"], f"{job['agent']}.{job['action']}", job["status"], f"{job['progress']:.0%}", job["created_at"][:19])
        for job in found
    ]
    print_rows(rows, ("JOB", "ACTION", "STATUS", "DONE", "CREATED"))
    return 0


def _first(items: Iterator[Any], count: int) -> Iterator[Any]:
    for _, item in zip(range(count), items, strict=False):
        yield item


def _show_items(items: list[Any], *, as_json: bool) -> int:
    if as_json:
        print_json(items)
        return 0
    rows = [
        (str(one["index"]), one["status"], str(one["attempt"]), (one["error"] or {}).get("message", "")[:80])
        for one in items
    ]
    print_rows(rows, ("ITEM", "STATUS", "TRIES", "ERROR"))
    return 0


def _why(waits: dict[str, Any]) -> str:
    parts = [waits["reason"], f"since {waits['since'][:19]}"]
    if waits.get("until"):
        parts.append(f"until {waits['until'][:19]}")
    if "ahead" in waits:
        parts.append(f"{waits['ahead']}{'+' if waits['more'] else ''} ahead")
    if "limit" in waits:
        parts.append(f"limit {waits['limit']['key'] or waits['limit']['target']}")
    return ", ".join([*parts, *filter(None, [waits.get("detail")])])


def _show(job: dict[str, Any]) -> None:
    print(f"{job['id']}  {job['agent']}.{job['action']}  {job['status']}  {job['progress']:.0%}")
    if job["waits"]:
        print(f"waits: {_why(job['waits'])}")
    if job["error"]:
        print(f"error: {job['error']['message']} ({job['error']['code']})")
    rows = [
        (step["name"], str(step["iteration"]), step["status"], step["queue"], str(step["attempt"]))
        for step in job["steps"]
    ]
    print_rows(rows, ("STEP", "ITERATION", "STATUS", "QUEUE", "TRIES"))
    for line in (*waiting(job), *spent(job)):
        print(line)
    for step in job["steps"]:
        if step["items"]:
            counts = ", ".join(f"{n} {state}" for state, n in step["items"].items() if state != "total")
            print(f"items of {step['name']}: {step['items']['total']} ({counts})")
    if job["question"]:
        print(f"asks: {job['question']['prompt']}  (question {job['question']['id']})")
    if job["output"] is not None:
        print("output:")
        print_json(job["output"])
    elif job["partial_output"] is not None:
        print("output so far:")
        print_json(job["partial_output"])


@click.command("watch")
@click.argument("job_id")
@json_option
@click.pass_context
def watch_command(ctx: click.Context, job_id: str, as_json: bool) -> int:
    """Follow a job until it ends; exit code 1 unless it succeeds."""
    return follow(client(ctx), job_id, as_json=as_json)


@click.command("cancel")
@click.argument("job_id")
@click.option("--reason", default="")
@json_option
@click.pass_context
def cancel_command(ctx: click.Context, job_id: str, reason: str, as_json: bool) -> int:
    """Cancel a job."""
    job = client(ctx).cancel(job_id, reason)
    if as_json:
        print_json(job)
    else:
        print(f"{job['id']}  {'cancel requested' if job['status'] == 'running' else job['status']}")
    return 0


@click.command("answer")
@click.argument("job_id")
@click.argument("value")
@click.option("--question", help="The id of the question, as `agora jobs JOB` shows it: safe to send again.")
@json_option
@click.pass_context
def answer_command(ctx: click.Context, job_id: str, value: str, question: str | None, as_json: bool) -> int:
    """Answer what a job asks. VALUE is JSON, @file or - for standard input."""
    job = client(ctx).give_input(job_id, read_json(value, "VALUE"), question)
    if as_json:
        print_json(job)
    else:
        print(f"{job['id']}  {job['status']}")
    return 0
