"""The client's methods about the audit log."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from agora.client.wire import Json, Wire


class AuditMethods(Wire):
    """Who did what."""

    def list_audit(self, **query: Any) -> Json:
        """One page of entries, newest first: ``items`` and ``next_cursor``.

        Filters: ``actor``, ``action`` (``key.*`` for all that begin so), ``object_type``, ``object_id``, ``address``,
        ``since``, ``until`` (RFC 3339); and ``limit``, ``cursor``.
        """
        return self._json("GET", "/audit", query=query)

    def iter_audit(self, **query: Any) -> Iterator[Json]:
        """Every entry that the filters of :meth:`list_audit` find, newest first."""
        cursor: str | None = None
        while True:
            page = self.list_audit(**{"limit": 200, **query, "cursor": cursor})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def export_audit(self, **query: Any) -> bytes:
        """Every entry that the filters find, as CSV."""
        given = urlencode({name: value for name, value in query.items() if value is not None})
        path = f"/audit.csv?{given}" if given else "/audit.csv"
        return self._request("GET", path, None, {"Accept": "text/csv"}, self._timeout)
