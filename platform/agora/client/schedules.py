"""The client's methods about schedules."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from agora.client.budgets import as_sent
from agora.client.wire import Answer, Json, Wire


class ScheduleMethods(Wire):
    """What callers do with schedules. ``ref`` is an id or a name."""

    def create_schedule(
        self,
        name: str,
        agent: str,
        action: str,
        input: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Json:
        """Make a schedule. ``fields``: one of cron, every (s) and at; timezone, catch_up, ends_at, budget and so on."""
        body = {"name": name, "agent": agent, "action": action, "input": dict(input or {}), **_plain(fields)}
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return self._json("POST", "/schedules", body, headers=headers)

    def get_schedule(self, ref: str) -> Answer:
        """A schedule with its next ten fire times. ``etag`` of the answer names its state."""
        return self._json("GET", _path(ref))

    def list_schedules(self, **query: Any) -> Json:
        """One page of schedules: ``items`` and ``next_cursor``."""
        return self._json("GET", "/schedules", query=query)

    def iter_schedules(self, **query: Any) -> Iterator[Json]:
        """Every schedule, page by page; ``sort`` takes ``name`` as well."""
        return self._each("/schedules", query)

    def update_schedule(self, ref: str, *, if_match: str | None = None, **fields: Any) -> Answer:
        """Change fields of a schedule; with ``if_match`` only if it still has this ``etag`` (else 412)."""
        return self._json("PATCH", _path(ref), _plain(fields), if_match=if_match)

    def delete_schedule(self, ref: str, *, if_match: str | None = None) -> None:
        """Delete a schedule; its jobs stay."""
        self._delete(_path(ref), if_match)

    def pause_schedule(self, ref: str) -> Json:
        """Let it fire no more until it is resumed."""
        return self._json("POST", f"{_path(ref)}/pause")

    def resume_schedule(self, ref: str) -> Json:
        """Let it fire again, from now on."""
        return self._json("POST", f"{_path(ref)}/resume")

    def run_schedule(self, ref: str, *, idempotency_key: str | None = None) -> Json:
        """Make its job now; returns the job."""
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return self._json("POST", f"{_path(ref)}/run", headers=headers)

    def next_times(self, ref: str, count: int = 10) -> list[str]:
        """Its next fire times."""
        found: list[str] = self._json("GET", f"{_path(ref)}/next", query={"count": count})["items"]
        return found

    def schedule_runs(self, ref: str, **query: Any) -> list[Json]:
        """What became of its fire times, newest first."""
        found: list[Json] = self._json("GET", f"{_path(ref)}/runs", query=query)["items"]
        return found


def _path(ref: str) -> str:
    return f"/schedules/{quote(ref, safe='')}"


def _plain(fields: Mapping[str, Any]) -> Json:
    made: Json = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}
    return made | ({"budget": as_sent(made["budget"])} if made.get("budget") else {})
