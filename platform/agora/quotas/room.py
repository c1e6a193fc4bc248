"""Whether there is room for one more member, project or file: looked at under a lock that all who add one take."""

from sqlalchemy.orm import Session

from agora.db.session import transaction
from agora.identity.member_queries import lock_team
from agora.quotas import daily, queries, tiers
from agora.quotas.types import Quota, Quotas, Use, exceeded


def check_member(session: Session, team_id: str, *, inviting: bool) -> None:
    """Raise QuotaExceeded unless one more may join; when ``inviting``, those who are invited count as well.

    In a transaction of the auth database. Nobody else joins or invites until it ends.
    """
    lock_team(session, team_id=team_id)
    limit = tiers.read_in(session, team_id).members
    if limit is None:
        return
    used = queries.count_members(session, team_id=team_id)
    used += queries.count_invited(session, team_id=team_id) if inviting else 0
    if used >= limit:
        raise exceeded(
            Quota.MEMBERS, limit=limit, used=used, what="the team has as many members as it may, with those invited"
        )


def check_project(session: Session, team_id: str) -> None:
    """Raise QuotaExceeded if the project that was just inserted is beyond what the team may have.

    Nobody else's is inserted until the transaction ends.
    """
    limit = tiers.of(team_id).projects
    if limit is None:
        return
    queries.lock_quota(session, team_id=team_id, quota=Quota.PROJECTS)
    used = queries.count_projects(session, team_id=team_id, most=limit + 1)
    if used > limit:
        raise exceeded(Quota.PROJECTS, limit=limit, used=limit, what="the team has as many projects as it may")


def check_storage(session: Session, team_id: str, size: int, *, limit: int | None) -> None:
    """Raise QuotaExceeded if the file of ``size`` bytes that was just inserted is beyond what the team may store.

    Nobody else's is inserted until the transaction ends. ``limit`` was read before it: what it asks is outside.
    """
    if limit is None:
        return
    queries.lock_quota(session, team_id=team_id, quota=Quota.STORAGE_BYTES)
    used = queries.sum_storage(session, team_id=team_id)
    if used > limit:
        raise exceeded(Quota.STORAGE_BYTES, limit=limit, used=used - size, what=f"no room for {size} bytes")


def use_of(team_id: str) -> tuple[Quotas, list[Use]]:
    """What a team may have, and what of it it has."""
    allowed = tiers.of(team_id)
    return allowed, uses_of(team_id, allowed)


def uses_of(team_id: str, allowed: Quotas) -> list[Use]:
    """What a team has of each of its quotas."""
    with transaction("auth") as session:
        members = queries.count_members(session, team_id=team_id)
    with transaction() as session:
        projects = queries.count_projects(session, team_id=team_id)
        storage = queries.sum_storage(session, team_id=team_id)
    used = {
        Quota.PROJECTS: projects, Quota.MEMBERS: members, Quota.STORAGE_BYTES: storage,
        Quota.JOBS_PER_DAY: daily.made_today(team_id),
    }  # fmt: skip
    return [
        Use(
            quota=one, limit=allowed.of(one), used=used.get(one),
            resets_at=daily.resets_at() if one == Quota.JOBS_PER_DAY else None,
        )
        for one in Quota
    ]  # fmt: skip
