"""SQL about tiers and what of them a team uses."""

from collections.abc import Mapping, Sequence

from sqlalchemy import RowMapping, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from agora.identity.models import InvitationRow, MemberRow, TeamRow
from agora.quotas.models import TierRow

MOST_COUNTED = 1_000_000
"""A count ends here: what has more is not counted to its end to be shown."""

OF_TEAM = text("""
SELECT t.tier, t.quotas, r.projects, r.members, r.jobs_per_day, r.requests_per_minute, r.storage_bytes
FROM teams t JOIN tiers r ON r.name = t.tier
WHERE t.id = :team_id
""")


def find_quotas(session: Session, *, team_id: str) -> RowMapping | None:
    """The tier of a team, what it allows, and what is otherwise for this team."""
    return session.execute(OF_TEAM, {"team_id": team_id}).mappings().one_or_none()


def list_tiers(session: Session) -> Sequence[TierRow]:
    """All tiers."""
    return session.scalars(select(TierRow).order_by(TierRow.name)).all()


def upsert_tier(session: Session, name: str, values: Mapping[str, int | None]) -> TierRow:
    """Set what a tier allows; what is not named stays, and in a new one has no limit."""
    insertion = insert(TierRow).values(name=name, **values)
    session.execute(insertion.on_conflict_do_update(index_elements=["name"], set_={"name": name, **values}))
    return session.get_one(TierRow, name, populate_existing=True)


def find_tier(session: Session, name: str) -> TierRow | None:
    """A tier."""
    return session.get(TierRow, name)


def has_tier(session: Session, name: str) -> bool:
    """Whether there is such a tier."""
    return session.get(TierRow, name) is not None


def set_tier(session: Session, *, team_id: str, tier: str, quotas: Mapping[str, int | None]) -> None:
    """Set the tier of a team, and what is otherwise for it."""
    session.execute(update(TeamRow).where(TeamRow.id == team_id).values(tier=tier, quotas=dict(quotas)))


def count_members(session: Session, *, team_id: str) -> int:
    """How many members a team has."""
    return session.scalar(select(func.count()).select_from(MemberRow).where(MemberRow.team_id == team_id)) or 0


def count_invited(session: Session, *, team_id: str) -> int:
    """How many may still join by an invitation."""
    waiting = InvitationRow.accepted_at.is_(None) & InvitationRow.revoked_at.is_(None)
    statement = select(func.count()).select_from(InvitationRow).where(InvitationRow.team_id == team_id, waiting)
    return session.scalar(statement.where(InvitationRow.expires_at > func.now())) or 0


LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
JOBS = text("""
SELECT count(*) FROM (
    SELECT FROM jobs WHERE team_id = :team_id AND id >= :since AND parent_id IS NULL LIMIT :most
) counted
""")
PROJECTS = text("SELECT count(*) FROM (SELECT FROM projects WHERE team_id = :team_id LIMIT :most) counted")
STORAGE = text("SELECT COALESCE(sum(size), 0)::bigint FROM files WHERE team_id = :team_id")


def lock_quota(session: Session, *, team_id: str, quota: str) -> None:
    """Let nobody else of the team use up this quota until the transaction ends, in the main database."""
    session.execute(LOCK, {"name": f"agora-quota {quota} {team_id}"})


def count_jobs(session: Session, *, team_id: str, since: str, most: int = MOST_COUNTED) -> int:
    """How many jobs somebody made for the team with ids from ``since`` on; up to ``most``. Children do not count."""
    return int(session.execute(JOBS, {"team_id": team_id, "since": since, "most": most}).scalar_one())


def count_projects(session: Session, *, team_id: str, most: int = MOST_COUNTED) -> int:
    """How many projects the team has, up to ``most``."""
    return int(session.execute(PROJECTS, {"team_id": team_id, "most": most}).scalar_one())


def sum_storage(session: Session, *, team_id: str) -> int:
    """How many bytes the team's files have."""
    return int(session.execute(STORAGE, {"team_id": team_id}).scalar_one())
