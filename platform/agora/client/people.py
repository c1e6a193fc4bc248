"""The client's methods about the user, their teams, and the team of the request. ``key`` may be an access token."""

from typing import Any
from urllib.parse import quote
from uuid import uuid4

from agora.client.wire import Answer, Json, Wire


def _once(idempotency_key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": idempotency_key or uuid4().hex}


class PeopleMethods(Wire):
    """The user who is signed in, teams, members, invitations. What is of a user needs their access token as key."""

    def me(self) -> Answer:
        """The user."""
        return self._json("GET", "/me")

    def rename_me(self, name: str, *, if_match: str | None = None) -> Answer:
        """Give the user another name."""
        return self._json("PATCH", "/me", {"name": name}, if_match=if_match)

    def sessions(self) -> list[Json]:
        """Where the user is signed in."""
        found: list[Json] = self._json("GET", "/me/sessions")["items"]
        return found

    def end_session(self, session_id: str) -> None:
        """End a session of the user, at once."""
        self._delete(f"/me/sessions/{quote(session_id, safe='')}")

    def renew_recovery_codes(self, password: str) -> list[str]:
        """Ten new recovery codes, shown this once; those before are void."""
        answered = self._json("POST", "/me/second-factor/recovery-codes", {"password": password})
        return list(answered["recovery_codes"])

    def teams(self) -> list[Json]:
        """The teams of the user."""
        found: list[Json] = self._json("GET", "/teams")["items"]
        return found

    def create_team(self, name: str, *, idempotency_key: str | None = None) -> Json:
        """Make a team, which the user owns. Its own retries make no second one."""
        return self._json("POST", "/teams", {"name": name}, headers=_once(idempotency_key))

    def team(self) -> Answer:
        """The team of the key."""
        return self._json("GET", "/team")

    def rename_team(self, name: str, *, if_match: str | None = None) -> Answer:
        """Give the team another name."""
        return self._json("PATCH", "/team", {"name": name}, if_match=if_match)

    def members(self) -> list[Json]:
        """The members of the team."""
        found: list[Json] = self._json("GET", "/team/members")["items"]
        return found

    def get_member(self, user_id: str) -> Answer:
        """A member of the team."""
        return self._json("GET", f"/team/members/{quote(user_id, safe='')}")

    def change_role(self, user_id: str, role: str, *, if_match: str | None = None) -> Answer:
        """Give a member another role."""
        return self._json("PATCH", f"/team/members/{quote(user_id, safe='')}", {"role": role}, if_match=if_match)

    def remove_member(self, user_id: str, *, if_match: str | None = None) -> None:
        """Take a member out of the team."""
        self._delete(f"/team/members/{quote(user_id, safe='')}", if_match)

    def invite(self, email: str, role: str, *, idempotency_key: str | None = None) -> Json:
        """Invite somebody by mail. Its own retries send no second one."""
        body: Json = {"email": email, "role": role}
        return self._json("POST", "/team/invitations", body, headers=_once(idempotency_key))

    def invitations(self) -> list[Json]:
        """Open invitations of the team."""
        found: list[Json] = self._json("GET", "/team/invitations")["items"]
        return found

    def revoke_invitation(self, invitation_id: str) -> None:
        """Take an invitation back."""
        self._delete(f"/team/invitations/{quote(invitation_id, safe='')}")


class SystemMethods(Wire):
    """What administrators of the platform do, with their access token as key."""

    def all_teams(self, **query: Any) -> Json:
        """One page of all teams: ``items`` and ``next_cursor``."""
        return self._json("GET", "/system/teams", query=query)

    def get_any_team(self, team_id: str) -> Answer:
        """One of them: who it is, its tier, and how much of its quotas it uses."""
        return self._json("GET", f"/system/teams/{quote(team_id, safe='')}")

    def get_team_tier(self, team_id: str) -> Answer:
        """The tier of a team, and what is otherwise for it."""
        return self._json("GET", f"/system/teams/{quote(team_id, safe='')}/tier")

    def put_team_tier(
        self, team_id: str, tier: str, *, if_match: str | None = None, **otherwise: int | None
    ) -> Answer:  # fmt: skip
        """Put a team into a tier, as an administrator; what is named is otherwise for it, None: without a limit."""
        body = {"tier": tier, "otherwise": otherwise}
        return self._json("PUT", f"/system/teams/{quote(team_id, safe='')}/tier", body, if_match=if_match)

    def all_users(self, **query: Any) -> Json:
        """One page of all users; ``email`` finds one."""
        return self._json("GET", "/system/users", query=query)

    def disable_user(self, user_id: str) -> Json:
        """Let a user in no more."""
        return self._json("POST", f"/system/users/{quote(user_id, safe='')}/disable")

    def enable_user(self, user_id: str) -> Json:
        """Let a user in again."""
        return self._json("POST", f"/system/users/{quote(user_id, safe='')}/enable")

    def remove_second_factor_of(self, user_id: str) -> Json:
        """Take the second factor of a user away who has lost it."""
        return self._json("POST", f"/system/users/{quote(user_id, safe='')}/remove-second-factor")

    def admins(self) -> list[Json]:
        """Who has which system role."""
        found: list[Json] = self._json("GET", "/system/admins")["items"]
        return found

    def grant_admin(self, email: str, role: str) -> Json:
        """Give a user a system role."""
        return self._json("POST", "/system/admins", {"email": email, "role": role})

    def revoke_admin(self, user_id: str, role: str) -> None:
        """Take a system role away."""
        self._delete(f"/system/admins/{quote(user_id, safe='')}/{quote(role, safe='')}")

    def platform_usage(self, *, days: int = 1) -> Json:
        """Counts of accounts, and of the jobs of the last days."""
        return self._json("GET", "/system/usage", query={"days": days})
