"""Follow a job: a progress bar on a terminal, plain lines in a pipe, JSON lines for programs."""

import json
import sys
from typing import Any

from agora.client import Agora

DONE = "job.succeeded"


def follow(api: Agora, job_id: str, *, as_json: bool) -> int:
    """Show a job's events until it ends; returns the exit code: 0 when it succeeded, else 1."""
    if as_json:
        last = _json_lines(api, job_id)
    elif sys.stdout.isatty():
        last = _bars(api, job_id)
    else:
        last = _lines(api, job_id)
    return 0 if last == DONE else 1


def _json_lines(api: Agora, job_id: str) -> str:
    last = ""
    for event in api.events(job_id):
        print(json.dumps(event), flush=True)
        last = event["type"]
    return last


def line_of(event: dict[str, Any]) -> str:
    """One plain line for an event."""
    data = event["data"]
    parts = [event["occurred_at"][11:19], f"{event['type']:<15}"]
    parts += [str(data[name]) for name in ("step", "message", "prompt", "reason") if data.get(name)]
    if "progress" in data:
        parts.append(f"{data['progress']:.0%}")
    if data.get("error"):
        parts.append(f"{data['error']['message']} ({data['error']['code']})")
    return "  ".join(parts)


def _lines(api: Agora, job_id: str) -> str:
    last = ""
    for event in api.events(job_id):
        print(line_of(event), flush=True)
        last = event["type"]
    return last


def _bars(api: Agora, job_id: str) -> str:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    job = api.get_job(job_id)
    actions = api.agents(job["agent"])
    steps = next(one["steps"] for one in actions if one["action"] == job["action"] and one["version"] == job["version"])
    columns = (
        SpinnerColumn(), TextColumn("{task.description:<24}"), BarColumn(), TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )  # fmt: skip
    last = ""
    with Progress(*columns) as progress:
        bars = {step["name"]: progress.add_task(step["name"], total=1.0, start=False, note="") for step in steps}
        names = list(bars)
        for event in api.events(job_id):
            data, last = event["data"], event["type"]
            bar = bars.get(data.get("step", names[0]))
            if bar is None:
                continue
            if last == "job.progressed":
                within = data["progress"] * len(names) - names.index(data["step"])
                progress.start_task(bar)
                progress.update(bar, completed=min(1.0, within), note=data.get("message", ""))
            elif last == "step.succeeded":
                progress.start_task(bar)
                progress.update(bar, completed=1.0, note="done")
            elif last in {"step.failed", "step.retrying"}:
                progress.update(bar, note=data["error"]["message"][:60])
    if last != DONE:
        print(line_of(event))
    return last
