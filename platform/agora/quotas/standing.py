"""A team as administrators see one by itself: who it is, its tier, and how much of its quotas it uses."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from agora.identity import administrators
from agora.identity.admin_queries import TeamSummary
from agora.quotas import room, tiers
from agora.quotas.types import Use


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing(TeamSummary):
    """``edition`` is that of the tier, which is what administrators edit of a team."""

    tier: str
    otherwise: Mapping[str, int | None]
    quotas: Sequence[Use]
    edition: str


def standing_of(team_id: str) -> Standing:
    """A team. Raises NotFound."""
    summary, allowed = administrators.get_team(team_id), tiers.get_team(team_id)
    return Standing(
        **asdict(summary), tier=allowed.tier, otherwise=allowed.otherwise, quotas=room.uses_of(team_id, allowed),
        edition=allowed.edition,
    )  # fmt: skip
