"""What can go wrong between a client and the API."""

from collections.abc import Mapping, Sequence
from typing import Any


class ApiError(Exception):
    """The API refused; ``status``, ``code``, ``detail``, ``errors``, ``request_id`` are its problem document's."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code: str = problem.get("code", "http-error")
        self.detail: str = problem.get("detail", "") or problem.get("title", f"HTTP {status}")
        self.errors: Sequence[Mapping[str, Any]] = problem.get("errors", ())
        self.request_id: str | None = problem.get("request_id")
        super().__init__(f"{self.detail} ({self.code}, HTTP {status})")


class Unreachable(Exception):
    """The API cannot be reached."""


class Busy(Exception):
    """The API is busy or away for now; ``retry_after`` is seconds."""

    def __init__(self, error: ApiError, retry_after: float) -> None:
        super().__init__(str(error))
        self.error, self.retry_after = error, retry_after
