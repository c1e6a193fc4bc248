"""Workers enter, report and leave."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import OperationalError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from agora.agents import Action
from agora.db.session import transaction
from agora.jobs import catalogue, catalogue_queries, step_queries
from agora.telemetry import get_logger

FIRST_CONNECTION_SECONDS = 60.0

log = get_logger(__name__)


def enter(
    actions: Sequence[Action[Any, Any]], *, worker_id: str, hostname: str, pid: int, queues: Sequence[str]
) -> None:
    """Register a worker and its actions; waits up to a minute for the database.

    Raises:
        CatalogueConflict: an action version is registered with other steps or schemas.
    """
    waiting = Retrying(
        retry=retry_if_exception_type(OperationalError),
        stop=stop_after_delay(FIRST_CONNECTION_SECONDS),
        wait=wait_exponential(multiplier=0.1, max=2),
        reraise=True,
    )
    for attempt in waiting:
        with attempt:
            catalogue.register_worker(actions, worker_id=worker_id, hostname=hostname, pid=pid, queues=queues)


def report_alive(
    actions: Sequence[Action[Any, Any]], *, worker_id: str, hostname: str, pid: int, queues: Sequence[str]
) -> bool:
    """Note that a worker lives. An outage is only logged; False then: report again soon."""
    names = sorted(catalogue.label_of(action) for action in actions)
    try:
        with transaction() as session:
            catalogue_queries.upsert_worker(
                session, worker_id=worker_id, hostname=hostname, pid=pid, actions=names, queues=queues
            )  # fmt: skip
    except SQLAlchemyError as error:
        log.warning("worker could not report", worker_id=worker_id, error=type(error).__name__)
        return False
    return True


def leave(*, worker_id: str) -> int:
    """Give back the leases of a stopping worker, attempts unburnt, and forget it; returns how many leases."""
    try:
        with transaction() as session:
            given_back = step_queries.give_back_leases(session, worker_id=worker_id)
            catalogue_queries.delete_worker(session, worker_id=worker_id)
    except SQLAlchemyError as error:
        log.warning("leases run out by themselves", worker_id=worker_id, error=type(error).__name__)
        return 0
    return given_back
