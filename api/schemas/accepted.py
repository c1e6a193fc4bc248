"""A job that was just accepted, by hand as ``SubmittedOut`` shows it.

Most of a submit's answer is None, and the schema takes a tenth of the request to find that out, field by field. A test
holds the two against each other.
"""

from typing import Any

from agora.jobs.types import Job
from api.schemas.common import told


def show_accepted(job: Job) -> dict[str, Any]:
    """The JSON object of a job that was inserted a moment ago, has no budget and has not begun."""
    own = f"/api/v1/jobs/{job.id}"
    return {
        "id": job.id,
        "agent": job.agent,
        "action": job.action,
        "version": job.version,
        "status": job.status,
        "priority": job.priority,
        "input": job.input,
        "output": None,
        "error": None,
        "progress": 0.0,
        "progress_message": "",
        "usage": {},
        "budget": None,
        "waits": None,
        "partial_output": None,
        "metadata": job.metadata,
        "root_id": job.id,
        "parent_id": None,
        "retry_of": None,
        "forked_from": None,
        "batch_id": None,
        "schedule_id": None,
        "run_at": told(job.run_at),
        "deadline": None if job.deadline is None else told(job.deadline),
        "cancel_requested_at": None,
        "created_at": told(job.created_at),
        "started_at": None,
        "ended_at": None,
        "steps": [],
        "question": None,
        "request_id": job.request_id,
        "links": {"self": own} | {name: f"{own}/{name}" for name in ("events", "cancel", "retry", "fork")},
    }
