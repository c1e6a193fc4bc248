"""Tiers as data: what a team may have, read by every process, set by the operator."""

import re
import threading
from collections.abc import Mapping

from sqlalchemy import RowMapping
from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.audit.acting import PLATFORM
from agora.caching import generations
from agora.caching.cache import Cache
from agora.caching.generations import TIERS, team_tag
from agora.db.session import transaction
from agora.editions import ANYTHING, Expected
from agora.errors import NotFound, invalid_field
from agora.identity.member_queries import lock_team
from agora.quotas import queries
from agora.quotas.models import MOST, TierRow
from agora.quotas.types import NAMES, Quota, Quotas, TeamQuotas
from agora.teams.service import find_team

KEEP_SECONDS = 30.0
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
LARGEST = 2**53
"""What JSON can say of whole numbers."""
UNKNOWN_TEAM = Quotas(
    tier="", projects=None, members=None, jobs_per_day=None, requests_per_minute=None, storage_bytes=None
)
"""A team that has no row: its callers are refused for that; what its workers still run comes to its end."""

cache: Cache[str, Quotas] = Cache("tiers", seconds=KEEP_SECONDS)
_reading = threading.Lock()
"""One reader at a time: a worker then needs one connection to the auth database and no more."""


def tags_of(team_id: str) -> tuple[str, str]:
    """What the quotas of a team depend on."""
    return team_tag(team_id), TIERS


def of(team_id: str) -> Quotas:
    """What a team may have, as of now."""
    return cache.get(team_id, tags_of(team_id), lambda: _read(team_id))


def _read(team_id: str) -> Quotas:
    with _reading, transaction("auth") as session:
        return read_in(session, team_id)


def read_in(session: Session, team_id: str) -> Quotas:
    """What a team may have, read in a transaction of the auth database."""
    row = queries.find_quotas(session, team_id=team_id)
    return UNKNOWN_TEAM if row is None else Quotas(tier=row["tier"], **_in_force(row))


def _in_force(row: RowMapping) -> dict[str, int | None]:
    return {name: row["quotas"].get(name, row[name]) for name in NAMES}


def get_team(team_id: str) -> TeamQuotas:
    """The tier of a team, and what is otherwise for it. Raises NotFound."""
    with transaction("auth") as session:
        return _view_of_team(team_id, _found(session, team_id))


def _found(session: Session, team_id: str) -> RowMapping:
    row = queries.find_quotas(session, team_id=team_id)
    if row is None:
        raise NotFound(f"there is no team {team_id}")
    return row


def _view_of_team(team_id: str, row: RowMapping) -> TeamQuotas:
    return TeamQuotas(team_id=team_id, tier=row["tier"], otherwise=row["quotas"], **_in_force(row))


def list_tiers() -> list[Quotas]:
    """All tiers."""
    with transaction("auth") as session:
        return [_view(row) for row in queries.list_tiers(session)]


def _view(row: TierRow) -> Quotas:
    return Quotas(tier=row.name, **{name: getattr(row, name) for name in NAMES})


def set_tier(name: str, values: Mapping[str, int | None]) -> Quotas:
    """Set what a tier allows, or make one. Raises Invalid."""
    _check(values)
    if not NAME.fullmatch(name):
        raise invalid_field("/tier", "pattern", "a tier has a name of up to 40 letters, digits and hyphens", name)
    with generations.changing(TIERS), transaction("auth") as session:
        before = queries.find_tier(session, name)
        old = _amounts(_view(before)) if before is not None else {}
        found = _view(queries.upsert_tier(session, name, values))
        audit.record(session, "tier.set", name, team_id=PLATFORM, before=old, after=_amounts(found))
        return found


def _amounts(quotas: Quotas) -> dict[str, int | None]:
    return {name: getattr(quotas, name) for name in NAMES}


def _check(values: Mapping[str, int | None]) -> None:
    for name, value in values.items():
        least, most = (1, MOST) if name == Quota.REQUESTS_PER_MINUTE else (0, LARGEST)
        if name not in NAMES or (value is not None and not least <= value <= most):
            raise invalid_field(f"/{name}", "range", f"{name} must be {least} to {most}, or unlimited", value)


def move_team(
    name: str, tier: str | None, overrides: Mapping[str, int | None], *, keep: bool = True,
    expected: Expected = ANYTHING,
) -> TeamQuotas:  # fmt: skip
    """Put a team (by handle or id) into a tier (None: it stays in its own); ``overrides``: what is otherwise for it.

    Those that it had are kept unless they are named again, or ``keep`` is false.

    Raises:
        NotFound: there is no such team, or no such tier.
        Invalid: an amount is not acceptable.
        PreconditionFailed: the team's tier is not as expected.
    """
    _check(overrides)
    team_id, _ = find_team(name)
    with generations.changing(team_tag(team_id)), transaction("auth") as session:
        lock_team(session, team_id=team_id)
        row = _found(session, team_id)
        expected.check(_view_of_team(team_id, row))
        if tier is not None and not queries.has_tier(session, tier):
            raise NotFound(f"there is no tier {tier}")
        kept = row["quotas"] if keep else {}
        new_tier, quotas = tier or row["tier"], {**kept, **overrides}
        queries.set_tier(session, team_id=team_id, tier=new_tier, quotas=quotas)
        audit.record(
            session, "team.tier_changed", team_id, team_id=team_id,
            before={"tier": row["tier"], "quotas": row["quotas"]}, after={"tier": new_tier, "quotas": quotas},
        )  # fmt: skip
        return _view_of_team(team_id, _found(session, team_id))


def as_json(quotas: Quotas) -> dict[str, object]:
    """Quotas as commands print them."""
    return {"tier": quotas.tier, **_amounts(quotas)}
