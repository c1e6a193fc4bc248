"""Where an answer leads: OpenAPI links, declared in one place. Tools follow them, and so do our tests."""

from collections.abc import Mapping
from typing import Any, Final

Link = tuple[str, str, Mapping[str, str]]

BY_ID: Final = "$response.body#/id"
LINKS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "jobs.submit": (
        "job_id",
        ("jobs.get_job", "jobs.cancel_job", "events.list_events", "lineage.retry_job", "jobs.give_input",
         "budgets.approve_job"),
    ),
    "batches.submit_batch": ("batch_id", ("batches.get_batch", "batches.cancel_batch")),
    "bulk.begin_bulk": ("bulk_id", ("bulk.get_bulk", "bulk.cancel_bulk", "bulk.list_items")),
    "schedules.create_schedule": (
        "ref",
        ("schedules.get_schedule", "schedules.update_schedule", "schedules.pause_schedule", "schedules.resume_schedule",
         "schedules.run_schedule", "schedules.list_runs", "schedules.next_times", "schedules.delete_schedule"),
    ),
    "files.upload": ("file_id", ("files.get_file", "files.get_content")),
    "webhook-endpoints.create_endpoint": (
        "ref",
        ("webhook-endpoints.get_endpoint", "webhook-endpoints.update_endpoint", "webhook-endpoints.pause_endpoint",
         "webhook-endpoints.resume_endpoint", "webhook-endpoints.endpoint_stats", "webhook-endpoints.delete_endpoint",
         "webhook-endpoint-keys.list_endpoint_keys", "webhook-endpoint-keys.add_endpoint_key"),
    ),
    "webhook-portal-links.create_portal_link": (
        "link_id", ("webhook-portal-links.get_portal_link", "webhook-portal-links.revoke_portal_link"),
    ),
    "webhook-replays.begin_replay": (
        "replay_id", ("webhook-replays.get_replay", "webhook-replays.cancel_replay"),
    ),
    "webhook-keys.add_team_key": ("key_id", ("webhook-keys.revoke_team_key",)),
    "keys.create_key": ("key_id", ("keys.get_key", "keys.pin_key", "keys.rotate_key", "keys.revoke_key")),
    "holds.create_hold": ("hold_id", ("holds.get_hold", "holds.release_hold")),
    "team.invite": ("invitation_id", ("team.revoke_invitation",)),
}  # fmt: skip
"""By the endpoint that makes something: the parameter that takes its id, and the endpoints that have this parameter."""


def links_of(endpoint: str, names: Mapping[str, str]) -> dict[str, Any]:
    """The links of an endpoint's answers; ``names`` are operation ids by endpoint."""
    parameter, targets = LINKS.get(endpoint, ("", ()))
    return {names[target]: {"operationId": names[target], "parameters": {parameter: BY_ID}} for target in targets}
