"""SQL that exports and imports endpoints in bulk."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import func, insert, or_, select
from sqlalchemy.orm import Session

from agora.webhooks.key_queries import LIVE
from agora.webhooks.models import EndpointRow, KeyRow


def list_oldest(session: Session, *, team_id: str, after: str, limit: int) -> Sequence[EndpointRow]:
    """Endpoints that are no job's, the oldest first, after an id."""
    statement = select(EndpointRow).where(
        EndpointRow.team_id == team_id, EndpointRow.kind == "endpoint", EndpointRow.id > after
    )
    return session.scalars(statement.order_by(EndpointRow.id).limit(limit)).all()


def newest_algorithms(session: Session, *, team_id: str, endpoint_ids: Collection[str]) -> Mapping[str, str]:
    """How the newest key of each endpoint that signs does so."""
    statement = (
        select(KeyRow.endpoint_id, KeyRow.algorithm)
        .where(KeyRow.team_id == team_id, KeyRow.endpoint_id.in_(endpoint_ids), LIVE)
        .distinct(KeyRow.endpoint_id)
        .order_by(KeyRow.endpoint_id, KeyRow.id.desc())
    )
    return {row.endpoint_id: row.algorithm for row in session.execute(statement) if row.endpoint_id is not None}


def lock_known(
    session: Session, *, team_id: str, uids: Collection[str], ids: Collection[str]
) -> Sequence[EndpointRow]:  # fmt: skip
    """The endpoints with these uids or ids, locked in order of their ids."""
    statement = select(EndpointRow).where(
        EndpointRow.team_id == team_id,
        EndpointRow.kind == "endpoint",
        or_(EndpointRow.uid.in_(uids), EndpointRow.id.in_(ids)),
    )
    return session.scalars(statement.order_by(EndpointRow.id).with_for_update(key_share=True)).all()


def insert_endpoints(
    session: Session, *, team_id: str, rows: Sequence[Mapping[str, Any]], keys: Sequence[Mapping[str, Any]]
) -> None:
    """Insert endpoints with a key for each. Raises IntegrityError for a uid that the team has already."""
    session.execute(insert(EndpointRow), [{"team_id": team_id, **row} for row in rows])
    session.execute(insert(KeyRow), [{"team_id": team_id, **key} for key in keys])


def update_endpoint(session: Session, *, team_id: str, row: EndpointRow, values: Mapping[str, Any]) -> None:
    """Set attributes of an endpoint of the team that the caller has locked."""
    if row.team_id != team_id:
        raise LookupError(row.id)
    for name, value in values.items():
        setattr(row, name, value)
    row.updated_at = func.clock_timestamp()
    session.flush()
