"""What is done one by one, where none that fails may keep the others from being done."""

from collections.abc import Callable, Iterable

from sqlalchemy.exc import SQLAlchemyError

from agora.db.session import Row
from agora.telemetry import get_logger

log = get_logger(__name__)


def settle_each(settle: Callable[[Row], bool], waiting: Iterable[Row]) -> int:
    """Settle steps that need not wait any more; returns how many were. One that cannot be stays as it is and is logged.

    Its job is looked at again by the dispatcher, as long as it waits.
    """
    return sum([_is_settled(settle, step) for step in waiting])


def _is_settled(settle: Callable[[Row], bool], step: Row) -> bool:
    try:
        return settle(step)
    except SQLAlchemyError as error:
        log.warning(
            "a step that waited was not settled", step_id=step["id"], job_id=step["job_id"],
            error=type(error).__name__, detail=str(error)[:300],
        )  # fmt: skip
    except Exception:
        log.exception("a step that waited was not settled", step_id=step["id"], job_id=step["job_id"])
    return False
