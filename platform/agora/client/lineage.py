"""The client's methods about going on from what a job has done: retry and fork."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from agora.client.wire import Json, Wire


class LineageMethods(Wire):
    """New jobs from old ones."""

    def retry(
        self,
        job_id: str,
        *,
        from_step: str | None = None,
        version: int | None = None,
        priority: int | None = None,
        deadline: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Retry a failed or cancelled job; returns the new job, which begins where the old one ended."""
        body = {"from_step": from_step, "version": version, "priority": priority, "metadata": metadata}
        return self._go_on(job_id, "retry", body, deadline, idempotency_key)

    def fork(
        self,
        job_id: str,
        from_step: str,
        input: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        priority: int | None = None,
        deadline: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Begin a new job at a step of another one, with its results before that step; ``input`` replaces the whole."""
        body = {
            "from_step": from_step, "input": input, "version": version, "priority": priority, "metadata": metadata,
        }  # fmt: skip
        return self._go_on(job_id, "fork", body, deadline, idempotency_key)

    def _go_on(
        self, job_id: str, kind: str, body: Mapping[str, Any], deadline: datetime | None, key: str | None
    ) -> Json:
        given = {name: value for name, value in body.items() if value is not None}
        if deadline is not None:
            given["deadline"] = deadline.isoformat()
        headers = {"Idempotency-Key": key or uuid4().hex}
        return self._json("POST", f"/jobs/{quote(job_id, safe='')}/{kind}", given, headers=headers)
