"""The client's methods about the audit log."""

from collections.abc import Iterator, Mapping
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
        return self._each("/audit", {"limit": 200, **query})

    def export_audit(self, **query: Any) -> bytes:
        """Every entry that the filters find, as CSV."""
        return self._sheet("/audit.csv", query)

    def list_platform_audit(self, **query: Any) -> Json:
        """As :meth:`list_audit`, of what concerns no team; for administrators, with their access token as key."""
        return self._json("GET", "/system/audit", query=query)

    def iter_platform_audit(self, **query: Any) -> Iterator[Json]:
        """Every entry of them that the filters find, newest first."""
        return self._each("/system/audit", {"limit": 200, **query})

    def export_platform_audit(self, **query: Any) -> bytes:
        """Every entry of them that the filters find, as CSV."""
        return self._sheet("/system/audit.csv", query)

    def _sheet(self, path: str, query: Mapping[str, Any]) -> bytes:
        given = urlencode({name: value for name, value in query.items() if value is not None})
        path = f"{path}?{given}" if given else path
        return self._request("GET", path, None, {"Accept": "text/csv"}, self._timeout)
