"""The benchmark's agent, in a worker that writes down when each stage of a turn begins and ends: for ``bench.idle``."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agora.jobs import turn
from agora.jobs.claim import Claimer
from bench.agents import AGENTS

__all__ = ["AGENTS"]

TRACES = Path(os.environ.get("AGORA_DATA_DIR", ".")) / "traces"
_marks: list[tuple[str, float]] = []


def _marked(stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def marked(*arguments: Any, **options: Any) -> Any:
        _marks.append((f"before {stage}", time.time()))
        try:
            return call(*arguments, **options)
        finally:
            _marks.append((f"after {stage}", time.time()))

    return marked


def _written(call: Callable[..., Any]) -> Callable[..., Any]:
    def written(*arguments: Any, **options: Any) -> Any:
        _marks[:] = [("begun", time.time())]
        try:
            return call(*arguments, **options)
        finally:
            TRACES.mkdir(exist_ok=True)
            with (TRACES / f"{os.getpid()}.jsonl").open("a") as file:
                file.write(json.dumps(_marks) + "\n")

    return written


turn.Turn.run = _written(turn.Turn.run)  # type: ignore[method-assign]
Claimer.one = _marked("claim", Claimer.one)  # type: ignore[method-assign]
turn.settle = _marked("record", turn.settle)
