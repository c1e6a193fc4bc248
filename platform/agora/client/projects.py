"""The client's methods about projects and with whom they are shared."""

from typing import Any
from urllib.parse import quote

from agora.client.wire import Answer, Json, Wire


def _path(project_id: str, *rest: str) -> str:
    return "/".join(["/projects", *(quote(part, safe="") for part in (project_id, *rest))])


class ProjectMethods(Wire):
    """Look at projects, change them, share them with other teams."""

    def list_projects(self, **query: Any) -> Json:
        """One page of projects, own and shared ones: ``items`` and ``next_cursor``."""
        return self._json("GET", "/projects", query=query)

    def get_project(self, project_id: str) -> Answer:
        """A project; ``access`` says what this team may do with it."""
        return self._json("GET", _path(project_id))

    def update_project(
        self, project_id: str, *, name: str | None = None, phase: str | None = None, if_match: str | None = None
    ) -> Answer:
        """Give a project another name, or move it to another phase: one of the two."""
        given = {key: one for key, one in {"name": name, "phase": phase}.items() if one is not None}
        return self._json("PATCH", _path(project_id), given, if_match=if_match)

    def list_specifications(self, project_id: str) -> list[Json]:
        """The current specifications of a project."""
        found: list[Json] = self._json("GET", _path(project_id, "specifications"))["items"]
        return found

    def get_specification(self, project_id: str, specification_id: str) -> Answer:
        """A specification, also one that is superseded or rejected."""
        return self._json("GET", _path(project_id, "specifications", specification_id))

    def revise_specification(
        self, project_id: str, specification_id: str, *, if_match: str | None = None, **changes: Any
    ) -> Answer:
        """Change a specification; the ``id`` of the one that is current now."""
        path = _path(project_id, "specifications", specification_id)
        return self._json("PATCH", path, changes, if_match=if_match)

    def list_conflicts(self, project_id: str) -> list[Json]:
        """The open conflicts of a project."""
        found: list[Json] = self._json("GET", _path(project_id, "conflicts"))["items"]
        return found

    def resolve_conflict(self, project_id: str, conflict_id: str, *, status: str = "resolved") -> None:
        """Note that somebody has decided about a conflict."""
        self._call("POST", _path(project_id, "conflicts", conflict_id, "resolve"), {"status": status})

    def list_shares(self, project_id: str) -> list[Json]:
        """With whom a project is shared."""
        found: list[Json] = self._json("GET", _path(project_id, "shares"))["items"]
        return found

    def get_share(self, project_id: str, team_id: str) -> Answer:
        """How a project is shared with a team."""
        return self._json("GET", _path(project_id, "shares", team_id))

    def share_project(
        self, project_id: str, team_id: str, access: str = "read", *, if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> Answer:  # fmt: skip
        """Share a project with another team, to ``read`` or to ``write``; or change how it is shared with it.

        With ``if_match`` only if the share still has this ``etag``, with ``if_none_match="*"`` only if there is none.
        """
        path, body = _path(project_id, "shares", team_id), {"access": access}
        return self._json("PUT", path, body, if_match=if_match, if_none_match=if_none_match)

    def unshare_project(self, project_id: str, team_id: str, *, if_match: str | None = None) -> None:
        """End a share, at once."""
        self._delete(_path(project_id, "shares", team_id), if_match)
