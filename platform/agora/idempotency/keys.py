"""Idempotency keys of creates: taken in the transaction that makes the thing, so that a repeat finds it or nothing."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from agora.errors import Conflict, IdempotencyKeyReused
from agora.idempotency import queries

ACCEPTED = 202


@dataclass(frozen=True, kw_only=True, slots=True)
class IdempotencyKey:
    """The caller's key of a create, with the route and the SHA-256 of the request that it stands for."""

    key: str
    route: str
    fingerprint: str


def earlier(session: Session, idempotency: IdempotencyKey | None, *, team_id: str, resource_id: str) -> str | None:
    """Take the key for ``resource_id``; None when it is taken now, else the id of what its first request made.

    While another transaction is about to take it, this waits for that one to end.

    Raises:
        IdempotencyKeyReused: the key stands for another request.
    """
    if idempotency is None:
        return None
    key, route = idempotency.key, idempotency.route
    taken = queries.remember_key(
        session, team_id=team_id, key=key, route=route, fingerprint=idempotency.fingerprint, resource_id=resource_id,
        status=ACCEPTED,
    )  # fmt: skip
    if taken:
        return None
    known = queries.find_key(session, team_id=team_id, key=key, route=route)
    if known is None:
        raise Conflict("the request that held this idempotency key ended just now; send it again")
    if known["fingerprint"] != idempotency.fingerprint:
        raise IdempotencyKeyReused(f"Idempotency-Key {key!r} was used with another request")
    return str(known["resource_id"])


def forward(session: Session, idempotency: IdempotencyKey | None, *, team_id: str, resource_id: str) -> None:
    """Let a key that this transaction took stand for something that was there before."""
    if idempotency is not None:
        queries.forward_key(
            session, team_id=team_id, key=idempotency.key, route=idempotency.route, resource_id=resource_id
        )
