"""Where stored values are: the columns that hold ``{"v": value}`` or ``{"ref": location}``.

Every JSONB column of the main database is named here, as one that holds stored values or as one that does not; a test
compares it with the models. So a new column cannot be forgotten, and no content goes that some row still refers to.
"""

from typing import Final

STORED: Final[dict[str, tuple[str, ...]]] = {
    "jobs": ("input", "output", "partial_output"),
    "schedules": ("input",),
    "steps": ("carry", "result", "value"),
    "step_notes": ("value",),
}
"""By table. Each has a partial index on its reference, so that it is quick to ask whether a location is referred to."""

OF_JOB: Final[dict[str, str]] = {
    "jobs": "jobs t WHERE t.id = ANY(:ids)",
    "steps": "steps t WHERE t.job_id = ANY(:ids)",
    "step_notes": "steps s JOIN step_notes t ON t.step_id = s.id WHERE s.job_id = ANY(:ids)",
}
"""How the rows of jobs are found in those of the tables that have such, the row under the name ``t``."""

PLAIN: Final[frozenset[str]] = frozenset(
    {
        "agent_versions.spec",
        "audit_outbox.after",
        "audit_outbox.before",
        "attempts.error",
        "batches.counts",
        "batches.metadata",
        "bulk_actions.filter",
        "bulk_actions.options",
        "bulk_items.error",
        "conflicts.left_statement",
        "conflicts.right_statement",
        "erasures.removed",
        "events.data",
        "holds.metadata",
        "jobs.budget",
        "jobs.error",
        "jobs.metadata",
        "jobs.usage",
        "schedule_runs.error",
        "schedules.budget",
        "schedules.last_error",
        "schedules.metadata",
        "specifications.source",
        "steps.error",
        "steps.suspension",
        "webhook_attempts.request_headers",
        "webhook_attempts.response_headers",
        "webhook_attempts.timings",
        "webhook_endpoints.headers",
        "webhook_endpoints.metadata",
        "webhook_endpoints.metadata_filter",
        "webhook_fan_outs.events",
        "webhook_portal_links.scope",
        "webhook_replays.filter",
    }
)
"""JSONB columns whose content is in the row, whatever it is."""
