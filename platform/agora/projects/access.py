"""Who may see and change a project: the team that it belongs to, and teams that it is shared with. Decided here only.

Everything of a project (specifications, conflicts) is then found by the team that it belongs to, which this returns.
"""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from agora.errors import Forbidden, NotFound
from agora.ids import is_id
from agora.projects import share_queries


class Access(StrEnum):
    """What a team may do with a project."""

    OWN = "own"  # it belongs to it: also share it
    WRITE = "write"  # shared: see and change it
    READ = "read"  # shared: see it


SHARED = (Access.READ, Access.WRITE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """A project that a team may see; ``team_id`` is the team that it belongs to."""

    team_id: str
    access: Access


def reach(session: Session, project_id: str, *, team_id: str, needs: Access = Access.READ) -> Reached:
    """What a team may do with a project, if it may do what it ``needs`` to, until the end of the transaction.

    Raises:
        NotFound: there is no such project, or it is neither the team's nor shared with it.
        Forbidden: the team may see it, and no more.
    """
    found = None
    if is_id(project_id, "prj"):
        # A share that a change goes by is locked: once a revocation has answered, no change by it comes any more.
        found = share_queries.find_access(session, team_id=team_id, project_id=project_id, lock=needs != Access.READ)
    if found is None:
        raise NotFound(f"there is no project {project_id}")
    owner, access = found[0], Access(found[1])
    if needs == Access.OWN and access != Access.OWN:
        raise Forbidden("only the team that a project belongs to shares it")
    if needs == Access.WRITE and access == Access.READ:
        raise Forbidden("this project is shared with your team for reading only")
    return Reached(team_id=owner, access=access)
