"""Call a step and conclude what its ending means: every way in which a step can end is mapped here, and only here.

No database: the engine and ``agora.testing`` share these rules.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from agora import outcomes
from agora.agents import Action, Step
from agora.errors import Invalid, TooLarge
from agora.jobs.decide import (
    Decision,
    Position,
    decide,
    decide_failure,
    decide_interrupted,
    failure_of,
    timeout_failure,
)
from agora.settings import get_settings

NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""In JSON. A backslash that is itself escaped may stand before ``u0000`` too, and is only text."""
SURROGATE = re.compile("[\ud800-\udfff]")


class WorkerDied(BaseException):
    """The death of the worker in the middle of a step, as tests inject it: nobody is left to conclude anything."""


def conclude(
    function: Callable[[], Any],
    action: Action[Any, Any],
    at: Position,
    *,
    pack: Callable[[Decision], tuple[Decision, str | None]],
    hard_timeouts: tuple[type[BaseException], ...] = (),
) -> tuple[Decision | None, str | None]:
    """Call a step's function and decide; returns the decision and its packed result.

    ``pack`` makes the decision's values storable and may raise, as the step's failure. The decision is None when
    another worker may own the step: then nothing is written. Whatever else the step raises is its failure:
    SystemExit too, and what cancels a task of asyncio or a greenlet, which no library of an agent may make ours. Only
    KeyboardInterrupt, which means this process, and WorkerDied go through.
    """
    try:
        return pack(decide(as_json(function(), action, action.named(at.step.name)), at))
    except outcomes.Interrupted as interrupted:
        return decide_interrupted(interrupted, at), None
    except hard_timeouts:
        return decide_failure(timeout_failure(at.step), at), None
    except (KeyboardInterrupt, WorkerDied):
        raise
    except BaseException as error:  # noqa: BLE001  # a step may raise anything; it is the step's failure
        return decide_failure(failure_of(error), at), None


def as_json(returned: Any, action: Action[Any, Any], step: Step[Any, Any]) -> Any:
    """The outcome with its value as JSON, checked against the declared types. Raises pydantic's errors."""
    if isinstance(returned, (*outcomes.SUSPENSIONS, outcomes.Cancel, outcomes.Repeat)):
        return returned
    value = returned.value if isinstance(returned, outcomes.Done) else returned
    dumped = step.dump(value)
    if step is action.steps[-1]:
        dumped = action.output.model_validate(dumped).model_dump(mode="json")
    return outcomes.Done(dumped)


def encode(value: Any, what: str) -> str:
    """The JSON text of a value that can be stored.

    Raises:
        TooLarge: it is longer than ``max_value_bytes``. ``what`` names it in the message.
        Invalid: it contains a NUL character, which Postgres' jsonb does not have, or half of a surrogate pair.
        ValueError: it contains NaN or an infinity.
    """
    limit = get_settings().max_value_bytes
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    if "\\u0000" in text and NUL.search(text):
        raise Invalid(f"{what} contains a NUL character, which cannot be stored")
    if not text.isascii() and SURROGATE.search(text):
        raise Invalid(f"{what} contains half of a surrogate pair, which cannot be stored")
    # A character takes at most four bytes: short texts need not be encoded to be measured.
    if len(text) > limit // 4 and (size := len(text.encode())) > limit:
        raise TooLarge(f"{what} has {size} bytes, the limit is {limit} (AGORA_MAX_VALUE_BYTES)")
    return text
