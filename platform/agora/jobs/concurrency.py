"""Concurrency keys: a submit names a key and how many jobs with it may run at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from agora.errors import Conflict, invalid_field
from agora.jobs import key_queries
from agora.jobs.gate import scope_of_key

POLICIES = ("queue", "cancel_running", "reject")
MAX_KEY = 200
MAX_LIMIT = 100_000
TRIES = 5


class ConcurrencyLimit(Conflict):
    """As many jobs with this concurrency key are open as may be."""

    slug = "concurrency-limit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Concurrency:
    """At most ``limit`` jobs of the team with this key run at once; the newest submit's limit counts.

    What becomes of a job that finds no room: with ``queue`` it waits, with ``reject`` it is not accepted, with
    ``cancel_running`` the oldest ones are cancelled until it fits.
    """

    key: str
    limit: int = 1
    policy: str = "queue"

    def check(self) -> None:
        """Raise Invalid, naming the field, unless this is acceptable."""
        if not 1 <= len(self.key) <= MAX_KEY:
            raise invalid_field("/concurrency_key", "length", f"a key must have 1 to {MAX_KEY} characters", self.key)
        if not 1 <= self.limit <= MAX_LIMIT:
            raise invalid_field("/concurrency_limit", "range", f"a limit must be 1 to {MAX_LIMIT}", self.limit)
        if self.policy not in POLICIES:
            raise invalid_field("/concurrency_policy", "enum", f"must be one of {', '.join(POLICIES)}", self.policy)


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """A key that this transaction has locked: its scope, and the jobs that are to be cancelled for the newcomer."""

    scope: str
    older: Sequence[str] = ()


def take(session: Session, concurrency: Concurrency, *, team_id: str, job_id: str) -> Taken:
    """Lock a key for the job ``job_id`` that is about to be inserted, and ask those to stop that it replaces.

    Raises:
        ConcurrencyLimit: the policy is to reject, and there is no room.
    """
    scope = scope_of_key(team_id, concurrency.key)
    _lock(session, concurrency.key, team_id=team_id, limit=concurrency.limit, first=concurrency.limit)
    if concurrency.policy == "queue":
        return Taken(scope=scope)
    older = key_queries.list_open(session, team_id=team_id, scope=scope)
    surplus = older[: max(0, len(older) - concurrency.limit + 1)]
    if surplus and concurrency.policy == "reject":
        raise ConcurrencyLimit(
            f"{len(older)} jobs with concurrency key {concurrency.key!r} are open, {concurrency.limit} may be",
            key=concurrency.key, limit=concurrency.limit, jobs=older[:10],
        )  # fmt: skip
    if surplus:
        reason = f"replaced by {job_id} (concurrency key {concurrency.key})"
        key_queries.request_cancels(session, team_id=team_id, job_ids=surplus, reason=reason)
    return Taken(scope=scope, older=surplus)


def take_over(session: Session, key: str, *, team_id: str) -> None:
    """Lock the key of an ended job for another that goes on from it, and stands in line like any other.

    The key's limit stays as it is. Where no job has the key any more nobody knows its limit: it is 1 until a submit
    names another.
    """
    _lock(session, key, team_id=team_id, limit=None, first=1)


def _lock(session: Session, key: str, *, team_id: str, limit: int | None, first: int) -> None:
    scope = scope_of_key(team_id, key)
    for _ in range(TRIES):
        key_queries.insert_key(session, team_id=team_id, scope=scope, key=key, limit=first)
        # Between the two statements its last job may end, and the key with it.
        if key_queries.lock_key(session, team_id=team_id, scope=scope, limit=limit):
            return
    raise Conflict(f"concurrency key {key!r} is too busy just now; send the request again")
