"""Find a team by its name or id."""

from agora.db.session import transaction
from agora.errors import NotFound
from agora.teams import queries


def find_team(name: str) -> tuple[str, str]:
    """Id and name of the team with this name or id. Raises NotFound."""
    with transaction("auth") as session:
        found = queries.find_team(session, team_id=name)
    if found is None:
        raise NotFound(f"there is no team {name}")
    return found
