"""What a job spent, for people."""

from collections.abc import Iterator
from typing import Any


def spent(job: dict[str, Any]) -> Iterator[str]:
    """A line on what the job's steps spent, and one for each model."""
    usage = job["usage"]
    if "tokens" in usage:
        tokens = f"{usage['tokens']:,} tokens ({usage['tokens_in']:,} in, {usage['tokens_out']:,} out)"
        yield f"spent: {tokens}, {usage['cost_usd']} USD, {usage['run_seconds']:.1f} s of run time"
    for step in job["steps"]:
        for one in step["usage"]:
            calls = f"{one['calls']} call{'s' if one['calls'] > 1 else ''}"
            model = f" of {one['model']}" if one["model"] else ""
            tokens = f"{one['tokens_in'] + one['tokens_out']:,} tokens"
            yield f"  {step['name']}, try {one['attempt']}: {calls}{model}, {tokens}, {one['cost_usd']} USD"
