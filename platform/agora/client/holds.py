"""The client's methods about legal holds."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from agora.client.wire import Json, Wire


class HoldMethods(Wire):
    """Keep jobs from being removed, and let them go again."""

    def create_hold(self, name: str, metadata: Mapping[str, Any], *, idempotency_key: str | None = None) -> Json:
        """Keep every job whose metadata contains this metadata. Its own retries make no second hold."""
        body: Json = {"name": name, "metadata": dict(metadata)}
        return self._json("POST", "/holds", body, headers={"Idempotency-Key": idempotency_key or uuid4().hex})

    def get_hold(self, hold_id: str) -> Json:
        """A hold; ``released_at`` None means that it is in force."""
        return self._json("GET", f"/holds/{quote(hold_id, safe='')}")

    def list_holds(self, **query: Any) -> Json:
        """One page of holds: ``items`` and ``next_cursor``."""
        return self._json("GET", "/holds", query=query)

    def iter_holds(self, **query: Any) -> Iterator[Json]:
        """Every hold, page by page; ``released`` shows also those that have ended."""
        return self._each("/holds", query)

    def release_hold(self, hold_id: str, *, if_match: str | None = None) -> Json:
        """End a hold."""
        return self._json("DELETE", f"/holds/{quote(hold_id, safe='')}", if_match=if_match)
