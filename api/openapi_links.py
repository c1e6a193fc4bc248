"""Where an answer leads: OpenAPI links, declared in one place. Tools follow them, and so do our tests."""

from collections.abc import Mapping
from typing import Any, Final

Parameters = Mapping[str, str]

BODY: Final = "$response.body#/"
ID: Final = f"{BODY}id"


def _to(parameters: Parameters, *targets: str) -> dict[str, Parameters]:
    return dict.fromkeys(targets, parameters)


_JOB: Final = _to(
    {"job_id": ID}, "jobs.get_job", "jobs.cancel_job", "jobs.list_items", "jobs.give_input", "events.list_events",
    "lineage.retry_job", "lineage.fork_job", "moves.move_job", "budgets.approve_job",
)  # fmt: skip
_REPLAY: Final = _to({"replay_id": ID}, "webhook-replays.get_replay", "webhook-replays.cancel_replay")
_KEY: Final = _to({"key_id": ID}, "keys.get_key", "keys.pin_key", "keys.rotate_key", "keys.revoke_key")
_TEAM_KEY: Final = _to({"key_id": ID}, "webhook-keys.revoke_team_key")
_KEYS: Final = _to({"ref": "$request.path.ref"}, "webhook-endpoint-keys.list_endpoint_keys")
_DELIVERY: Final = _to(
    {"delivery_id": ID}, "webhook-deliveries.get_delivery", "webhook-deliveries.resend_delivery"
) | _to({"ref": f"{BODY}endpoint_id"}, "webhook-endpoints.get_endpoint")
_SHARE: Final = _to({"project_id": f"{BODY}project_id"}, "projects.get_project", "projects.list_shares") | _to(
    {"project_id": f"{BODY}project_id", "with_team_id": f"{BODY}team_id"}, "projects.get_share", "projects.put_share",
    "projects.unshare",
)  # fmt: skip

LINKS: Final[Mapping[str, Mapping[str, Parameters]]] = {
    "jobs.submit": _JOB,
    "lineage.retry_job": _JOB,
    "lineage.fork_job": _JOB,
    "schedules.run_schedule": _JOB,
    "batches.submit_batch": _to({"batch_id": ID}, "batches.get_batch", "batches.cancel_batch"),
    "batches.cancel_batch": _to({"batch_id": ID}, "batches.get_batch"),
    "bulk.begin_bulk": _to({"bulk_id": ID}, "bulk.get_bulk", "bulk.cancel_bulk", "bulk.list_items"),
    "bulk.cancel_bulk": _to({"bulk_id": ID}, "bulk.get_bulk"),
    "schedules.create_schedule": _to(
        {"ref": ID}, "schedules.get_schedule", "schedules.update_schedule", "schedules.pause_schedule",
        "schedules.resume_schedule", "schedules.run_schedule", "schedules.list_runs", "schedules.next_times",
        "schedules.delete_schedule",
    ),
    "files.upload": _to({"file_id": ID}, "files.get_file", "files.get_content"),
    "projects.share": _SHARE,
    "projects.put_share": _SHARE,
    "webhook-endpoints.create_endpoint": _to(
        {"ref": ID}, "webhook-endpoints.get_endpoint", "webhook-endpoints.update_endpoint",
        "webhook-endpoints.pause_endpoint", "webhook-endpoints.resume_endpoint", "webhook-endpoints.recover_endpoint",
        "webhook-endpoints.send_test", "webhook-endpoints.endpoint_stats", "webhook-endpoints.delete_endpoint",
        "webhook-endpoint-keys.list_endpoint_keys", "webhook-endpoint-keys.add_endpoint_key",
        "webhook-key-rotations.rotate_endpoint_key",
    ),
    "webhook-endpoints.recover_endpoint": _REPLAY,
    "webhook-endpoints.send_test": _DELIVERY,
    "webhook-deliveries.resend_delivery": _DELIVERY,
    "webhook-endpoint-keys.add_endpoint_key": _KEYS
    | _to({"ref": "$request.path.ref", "key_id": ID}, "webhook-endpoint-keys.revoke_endpoint_key"),
    "webhook-key-rotations.rotate_endpoint_key": _KEYS,
    "webhook-keys.add_team_key": _TEAM_KEY,
    "webhook-key-rotations.rotate_team_key": _TEAM_KEY,
    "webhook-portal-links.create_portal_link": _to(
        {"link_id": ID}, "webhook-portal-links.get_portal_link", "webhook-portal-links.revoke_portal_link"
    ),
    "webhook-replays.begin_replay": _REPLAY,
    "keys.create_key": _KEY,
    "keys.rotate_key": _KEY,
    "holds.create_hold": _to({"hold_id": ID}, "holds.get_hold", "holds.release_hold"),
    "team.invite": _to({"invitation_id": ID}, "team.revoke_invitation"),
    "system.grant": _to(
        {"account_id": f"{BODY}user_id"}, "system.get_user", "system.disable_user", "system.enable_user",
        "system.remove_second_factor",
    ) | _to({"account_id": f"{BODY}user_id", "role": f"{BODY}role"}, "system.revoke"),
}  # fmt: skip
"""By the endpoint that makes something: the endpoints that an answer leads to, and what each takes of it."""


def links_of(endpoint: str, fields: frozenset[str], names: Mapping[str, str]) -> dict[str, Any]:
    """The links of an endpoint's answer with these fields; ``names`` are operation ids by endpoint.

    What a dry run answers has no id, so it leads nowhere.
    """
    return {
        names[target]: {"operationId": names[target], "parameters": dict(parameters)}
        for target, parameters in LINKS.get(endpoint, {}).items()
        if {one.removeprefix(BODY) for one in parameters.values() if one.startswith(BODY)} <= fields
    }
