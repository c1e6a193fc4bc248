"""What a job spent and may spend, and why it waits, for people."""

from collections.abc import Iterator
from typing import Any

LIMITS = ("max_tokens", "max_cost_usd", "max_run_seconds", "queue_timeout")


def waiting(job: dict[str, Any]) -> Iterator[str]:
    """A line on why a job does not go on."""
    waits = job["waits"]
    if waits is None:
        return
    since = waits["since"][:19].replace("T", " ")
    if waits["reason"] == "approval":
        over = waits["budget"]
        yield f"waits since {since} for approval: {over['used']} used, {over['limit']} is {over['allowed']}"
        yield f"  agora approve {job['id']} --approval {waits['approval']}"
    elif waits["reason"] == "no-worker":
        action = f"{job['agent']}.{job['action']}"
        yield f"waits since {since}: no living worker runs {action} version {waits['version']} on {waits['queue']}"
    else:
        yield f"waits since {since}: {waits['reason']}"


def spent(job: dict[str, Any]) -> Iterator[str]:
    """A line on what the job's steps spent, and one for each model."""
    usage = job["usage"]
    if "tokens" in usage:
        tokens = f"{usage['tokens']:,} tokens ({usage['tokens_in']:,} in, {usage['tokens_out']:,} out)"
        yield f"spent: {tokens}, {usage['cost_usd']} USD, {usage['run_seconds']:.1f} s of run time"
    budget = job["budget"] or {}
    if limits := [f"{name} {budget[name]}" for name in LIMITS if name in budget]:
        yield f"budget: {', '.join(limits)}, then {budget['on_exceeded']}"
    for step in job["steps"]:
        for one in step["usage"]:
            calls = f"{one['calls']} call{'s' if one['calls'] > 1 else ''}"
            model = f" of {one['model']}" if one["model"] else ""
            tokens = f"{one['tokens_in'] + one['tokens_out']:,} tokens"
            yield f"  {step['name']}, try {one['attempt']}: {calls}{model}, {tokens}, {one['cost_usd']} USD"
