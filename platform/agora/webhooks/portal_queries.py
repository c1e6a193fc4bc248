"""SQL of the webhook portal: its links, and a team's endpoints as far as a link's scope reaches."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, func, insert, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from agora.paging import Span
from agora.webhooks.models import AttemptRow, EndpointRow, PortalLinkRow

LIVE: ColumnElement[bool] = (PortalLinkRow.expires_at > func.now()).label("live")
"""By the clock of Postgres, which also gave the link its end."""


def insert_link(
    session: Session,
    *,
    team_id: str,
    link_id: str,
    digest: str,
    label: str,
    scope: Mapping[str, Any],
    read_only: bool,
    seconds: float,
) -> PortalLinkRow:
    """Insert a link that works for so many seconds."""
    end = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    statement = (
        insert(PortalLinkRow)
        .values(
            id=link_id, team_id=team_id, hash=digest, label=label, scope=dict(scope), read_only=read_only,
            expires_at=end,
        )
        .returning(PortalLinkRow)
    )  # fmt: skip
    return session.scalars(statement).one()


def find_link_by_hash(session: Session, *, digest: str) -> tuple[PortalLinkRow, bool] | None:
    """The link with this hash, and whether its time still runs: it is how a visitor's team is found out."""
    found = session.execute(select(PortalLinkRow, LIVE).where(PortalLinkRow.hash == digest)).one_or_none()
    return None if found is None else (found[0], found[1])


def find_link(
    session: Session, *, team_id: str, link_id: str, lock: bool = False
) -> tuple[PortalLinkRow, bool] | None:  # fmt: skip
    """A link, and whether its time still runs."""
    statement = select(PortalLinkRow, LIVE).where(PortalLinkRow.team_id == team_id, PortalLinkRow.id == link_id)
    found = session.execute(statement.with_for_update() if lock else statement).one_or_none()
    return None if found is None else (found[0], found[1])


def list_links(session: Session, *, team_id: str, span: Span) -> Sequence[tuple[PortalLinkRow, bool]]:
    """Links, each with whether its time still runs."""
    statement = select(PortalLinkRow, LIVE).where(PortalLinkRow.team_id == team_id)
    rows = session.execute(span.of(statement, PortalLinkRow.id)).all()
    return [(row[0], row[1]) for row in rows]


REVOKE = text("""
UPDATE webhook_portal_links SET revoked_at = COALESCE(revoked_at, now()) WHERE id = :link_id AND team_id = :team_id
""")


def revoke_link(session: Session, *, team_id: str, link_id: str) -> None:
    """Let a link work no more."""
    session.execute(REVOKE, {"link_id": link_id, "team_id": team_id})


FORGET = text("""
DELETE FROM webhook_portal_links WHERE id IN (
    SELECT id FROM webhook_portal_links WHERE id < :before ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED)
""")


def forget_links(session: Session, *, before: str, limit: int) -> int:
    """Delete links of all teams that were made before an id; how many."""
    parameters = {"before": before, "limit": limit}
    return session.execute(FORGET, parameters).rowcount  # type: ignore[attr-defined,no-any-return]


def _within(team_id: str, scope: Mapping[str, Any]) -> Select[EndpointRow]:
    return select(EndpointRow).where(
        EndpointRow.team_id == team_id, EndpointRow.kind == "endpoint", EndpointRow.meta.contains(dict(scope))
    )


def list_endpoints(session: Session, *, team_id: str, scope: Mapping[str, Any], span: Span) -> Sequence[EndpointRow]:
    """Endpoints of a scope, newest first."""
    statement = _within(team_id, scope)
    return session.scalars(span.of(statement, EndpointRow.id)).all()


def find_endpoint(session: Session, *, team_id: str, scope: Mapping[str, Any], endpoint_id: str) -> EndpointRow | None:
    """An endpoint by its id, if it is of the scope."""
    return session.scalar(_within(team_id, scope).where(EndpointRow.id == endpoint_id))


def count_endpoints(session: Session, *, team_id: str, scope: Mapping[str, Any], most: int) -> int:
    """How many endpoints a scope has; not counted beyond ``most``."""
    some = _within(team_id, scope).with_only_columns(EndpointRow.id).limit(most).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


RECENT = text("""
SELECT e.id AS endpoint_id, s.succeeded, s.ended, s.waiting, f.id AS failed_id, f.created_at AS failed_created_at
FROM unnest(CAST(:endpoint_ids AS text[])) AS e (id)
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE status IN ('succeeded', 'exhausted')) AS ended,
           count(*) FILTER (WHERE status IN ('pending', 'leased', 'held')) AS waiting,
           max(id) FILTER (WHERE last_error IS NOT NULL) AS failed_id
    FROM (SELECT id, status, last_error FROM webhook_deliveries d
          WHERE d.endpoint_id = e.id AND d.team_id = :team_id ORDER BY d.id DESC LIMIT :most) recent
) s
LEFT JOIN webhook_deliveries f ON f.id = s.failed_id
""")


def list_recent(session: Session, *, team_id: str, endpoint_ids: Sequence[str], most: int) -> Sequence[RowMapping]:
    """What became of each endpoint's newest ``most`` deliveries, and the newest of them that had an error."""
    parameters = {"team_id": team_id, "endpoint_ids": list(endpoint_ids), "most": most}
    return session.execute(RECENT, parameters).mappings().all()


def list_failed_attempts(
    session: Session, *, team_id: str, delivery_ids: Sequence[str], after: str
) -> Mapping[str, AttemptRow]:
    """The newest try that failed of each delivery; no try has an id below ``after``, which keeps old partitions out."""
    statement = (
        select(AttemptRow)
        .ext(distinct_on(AttemptRow.delivery_id))
        .where(
            AttemptRow.team_id == team_id, AttemptRow.delivery_id.in_(delivery_ids), AttemptRow.id >= after,
            AttemptRow.delivered.is_(False),
        )
        .order_by(AttemptRow.delivery_id, AttemptRow.id.desc())
    )  # fmt: skip
    return {row.delivery_id: row for row in session.scalars(statement)}
