"""Sharing a project with another team, which then sees it, or changes it too. A share ends at once when it is revoked.

Only the team that a project belongs to shares it: whoever has it shared cannot pass it on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.db.session import transaction
from agora.editions import ANYTHING, Edited, Expected
from agora.errors import NotFound, invalid_field
from agora.identity import members
from agora.ids import is_id
from agora.projects import share_queries
from agora.projects.access import Access, reach
from agora.projects.models import ProjectShareRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Share(Edited):
    """A project is shared with a team; ``created_by`` is a key or a user."""

    project_id: str
    team_id: str
    access: Access
    created_by: str
    created_at: datetime


def _share(row: ProjectShareRow) -> Share:
    return Share(
        project_id=row.project_id, team_id=row.with_team_id, access=Access(row.access), created_by=row.created_by,
        created_at=row.created_at,
    )  # fmt: skip


def share(
    project_id: str, with_team_id: str, access: Access, *, team_id: str, by: str, expected: Expected = ANYTHING,
    pointer: str = "/team_id",
) -> tuple[Share, bool]:  # fmt: skip
    """Share a project of the team, or change how it is shared. The logs of both teams tell of it.

    Returns the share, and whether it is a new one. ``pointer`` names the other team in a refusal.

    Raises:
        NotFound: the team cannot see such a project.
        Forbidden: it is another team's, which shares it with this one.
        Invalid: there is no such other team.
        PreconditionFailed: the share with that team is not as expected.
    """
    with transaction() as session:
        reach(session, project_id, team_id=team_id, needs=Access.OWN)  # before others' teams are told of
    if with_team_id == team_id:
        raise invalid_field(pointer, "other-team", "a project is shared with another team", with_team_id)
    try:
        members.get_team(with_team_id, None)
    except NotFound:
        raise invalid_field(pointer, "exists", "there is no such team", with_team_id) from None
    with transaction() as session:
        reach(session, project_id, team_id=team_id, needs=Access.OWN)
        found = _locked(session, project_id, with_team_id, team_id=team_id)
        expected.check(found)
        row = share_queries.put_share(
            session, team_id=team_id, project_id=project_id, with_team_id=with_team_id, access=access, created_by=by
        )
        if found is None or found.access != access:
            before = None if found is None else {"access": found.access}
            told = {"with_team_id": with_team_id, "access": access}
            teams = [team_id, with_team_id]
            audit.record_for(session, "project.shared", project_id, team_ids=teams, before=before, after=told)
        return _share(row), found is None


def _locked(session: Session, project_id: str, with_team_id: str, *, team_id: str) -> Share | None:
    """The share with a team, which nobody else sets or ends until the transaction does, also if there is none yet."""
    if not is_id(with_team_id, "team"):
        return None
    share_queries.lock_share(session, team_id=team_id, project_id=project_id, with_team_id=with_team_id)
    return _found(session, project_id, with_team_id, team_id=team_id)


def _found(session: Session, project_id: str, with_team_id: str, *, team_id: str) -> Share | None:
    row = share_queries.find_share(session, team_id=team_id, project_id=project_id, with_team_id=with_team_id)
    return None if row is None else _share(row)


def get_share(project_id: str, with_team_id: str, *, team_id: str) -> Share:
    """How a project of the team is shared with another. Raises NotFound, Forbidden."""
    with transaction() as session:
        reach(session, project_id, team_id=team_id, needs=Access.OWN)
        known = is_id(with_team_id, "team")
        found = _found(session, project_id, with_team_id, team_id=team_id) if known else None
        if found is None:
            raise NotFound(f"the project is not shared with {with_team_id}")
        return found


def list_shares(project_id: str, *, team_id: str) -> Sequence[Share]:
    """With whom a project of the team is shared. Raises NotFound, Forbidden."""
    with transaction() as session:
        reach(session, project_id, team_id=team_id, needs=Access.OWN)
        return [_share(row) for row in share_queries.list_shares(session, team_id=team_id, project_id=project_id)]


def unshare(project_id: str, with_team_id: str, *, team_id: str, expected: Expected = ANYTHING) -> None:
    """End a share. What the other team is writing just now is waited for.

    Raises NotFound, Forbidden, PreconditionFailed when it is not as expected.
    """
    with transaction() as session:
        reach(session, project_id, team_id=team_id, needs=Access.OWN)
        found = _locked(session, project_id, with_team_id, team_id=team_id)
        if found is None:
            raise NotFound(f"the project is not shared with {with_team_id}")
        expected.check(found)
        share_queries.delete_share(session, team_id=team_id, project_id=project_id, with_team_id=with_team_id)
        told = {"with_team_id": with_team_id, "access": found.access}
        audit.record_for(session, "project.unshared", project_id, team_ids=[team_id, with_team_id], before=told)
