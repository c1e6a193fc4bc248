"""The client's methods about links to the webhook portal."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from agora.client.wire import Json, Wire


class PortalMethods(Wire):
    """What callers do with links to the webhook portal."""

    def create_portal_link(
        self,
        scope: Mapping[str, Any] | None = None,
        *,
        all_endpoints: bool = False,
        read_only: bool = False,
        label: str = "",
        expires_in: int | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Make a link that opens the endpoints whose metadata contains ``scope``; ``url`` is shown this once.

        ``all_endpoints`` must be said where there is no scope. ``expires_in`` is seconds, an hour by default.
        """
        body: Json = {"read_only": read_only, "label": label}
        body |= {"scope": dict(scope)} if scope is not None else {}
        body |= {"all_endpoints": True} if all_endpoints else {}
        body |= {"expires_in": expires_in} if expires_in is not None else {}
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return self._json("POST", "/webhook-portal-links", body, headers=headers)

    def list_portal_links(self, **query: Any) -> Json:
        """One page of links: ``items`` and ``next_cursor``; never their URLs."""
        return self._json("GET", "/webhook-portal-links", query=query)

    def revoke_portal_link(self, link_id: str, *, if_match: str | None = None) -> None:
        """Let a link and the pages that it opened work no more."""
        self._delete(f"/webhook-portal-links/{quote(link_id, safe='')}", if_match)
