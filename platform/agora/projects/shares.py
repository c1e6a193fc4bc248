"""Sharing a project with another team, which then sees it, or changes it too. A share ends at once when it is revoked.

Only the team that a project belongs to shares it: whoever has it shared cannot pass it on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agora.audit import service as audit
from agora.db.session import transaction
from agora.errors import NotFound, invalid_field
from agora.identity import members
from agora.ids import is_id
from agora.projects import share_queries
from agora.projects.access import Access, reach
from agora.projects.models import ProjectShareRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
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


def share(project_id: str, with_team_id: str, access: Access, *, team_id: str, by: str) -> Share:
    """Share a project of the team, or change how it is shared. The logs of both teams tell of it.

    Raises:
        NotFound: the team cannot see such a project.
        Forbidden: it is another team's, which shares it with this one.
        Invalid: there is no such other team.
    """
    with transaction() as session:
        reach(session, project_id, team_id=team_id, needs=Access.OWN)  # before others' teams are told of
    if with_team_id == team_id:
        raise invalid_field("/team_id", "other-team", "a project is shared with another team", with_team_id)
    try:
        members.get_team(with_team_id, None)
    except NotFound:
        raise invalid_field("/team_id", "exists", "there is no such team", with_team_id) from None
    with transaction() as session:
        reach(session, project_id, team_id=team_id, needs=Access.OWN)
        row = share_queries.put_share(
            session, team_id=team_id, project_id=project_id, with_team_id=with_team_id, access=access, created_by=by
        )
        told = {"with_team_id": with_team_id, "access": access}
        audit.record_for(session, "project.shared", project_id, team_ids=[team_id, with_team_id], after=told)
        return _share(row)


def list_shares(project_id: str, *, team_id: str) -> Sequence[Share]:
    """With whom a project of the team is shared. Raises NotFound, Forbidden."""
    with transaction() as session:
        reach(session, project_id, team_id=team_id, needs=Access.OWN)
        return [_share(row) for row in share_queries.list_shares(session, team_id=team_id, project_id=project_id)]


def unshare(project_id: str, with_team_id: str, *, team_id: str) -> None:
    """End a share. What the other team is writing just now is waited for. Raises NotFound, Forbidden."""
    with transaction() as session:
        reach(session, project_id, team_id=team_id, needs=Access.OWN)
        access = None
        if is_id(with_team_id, "team"):
            access = share_queries.delete_share(
                session, team_id=team_id, project_id=project_id, with_team_id=with_team_id
            )
        if access is None:
            raise NotFound(f"the project is not shared with {with_team_id}")
        told = {"with_team_id": with_team_id, "access": access}
        audit.record_for(session, "project.unshared", project_id, team_ids=[team_id, with_team_id], before=told)
