"""Examples of the OpenAPI document: written ones for what is sent, made ones for what comes back.

tests/security takes the written ones for requests that are right, so they are; a test holds all against their schemas.
"""

from collections.abc import Mapping
from typing import Any

from agora.api_versions import NEWEST

JOB = {"agent": "project_manager", "action": "bootstrap", "input": {"name": "Shop", "text": "The shop must be open."}}
PASSWORD = "four brown owls on a slate roof"  # noqa: S105  # an example
TOKEN = "ott_01m8n68v92ex4sftxqvbxqdtbs.5kJ0c1Zb"  # noqa: S105  # an example
URL = "https://shop.example/hooks/agora"

REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "jobs.submit": JOB | {"metadata": {"order": "1047"}},
    "jobs.cancel_job": {"reason": "the order was withdrawn"},
    "jobs.give_input": {"value": 3, "question": "qst_01m8n68v92ex4sftxqvbxqdtbs"},
    "budgets.approve_job": {"budget": {"max_tokens": 200_000}},
    "moves.move_job": {"version": 2},
    "moves.move_jobs": {"action": "bootstrap", "before": 2, "version": 2},
    "lineage.retry_job": {"from_step": "find_specifications"},
    "lineage.fork_job": {"from_step": "read_document", "input": {"name": "Shop", "text": "The shop must be closed."}},
    "batches.submit_batch": {"jobs": [JOB], "metadata": {"import": "2026-11"}},
    "batches.cancel_batch": {"reason": "a wrong import"},
    "bulk.begin_bulk": {"action": "retry", "filter": {"status": ["failed"]}, "reason": "the model is back"},
    "schedules.create_schedule": {
        "name": "nightly", "agent": "project_manager", "action": "bootstrap", "input": JOB["input"],
        "cron": "0 3 * * *", "timezone": "Europe/Vienna",
    },
    "schedules.update_schedule": {"cron": "30 4 * * *"},
    "webhook-endpoints.create_endpoint": {"url": URL, "event_types": ["job.succeeded"], "description": "orders"},
    "webhook-endpoints.update_endpoint": {"description": "orders of the shop"},
    "webhook-endpoints.recover_endpoint": {"since": "2026-11-29T00:00:00Z"},
    "webhook-endpoints.send_test": {"event_type": "job.succeeded"},
    "webhook-endpoint-exchange.import_endpoints": {"endpoints": [{"url": URL, "uid": "shop"}], "dry_run": True},
    "webhook-endpoint-keys.add_endpoint_key": {"algorithm": "v1a"},
    "webhook-keys.add_team_key": {"algorithm": "v1"},
    "webhook-key-rotations.rotate_endpoint_key": {"overlap_seconds": 86_400},
    "webhook-key-rotations.rotate_team_key": {"overlap_seconds": 86_400},
    "webhook-portal-links.create_portal_link": {"scope": {"customer": "acme"}, "label": "Acme", "expires_in": 3600},
    "webhook-replays.begin_replay": {"status": ["exhausted"], "since": "2026-11-29T00:00:00Z"},
    "keys.create_key": {"name": "shop backend", "scopes": ["jobs:write", "jobs:read"]},
    "keys.rotate_key": {"overlap_seconds": 3600},
    "keys.pin_key": {"api_version": NEWEST},
    "queues.pause_queue": {"reason": "maintenance"},
    "limits.put_limit": {"max_running": 10, "rate": 5.0},
    "holds.create_hold": {"name": "case 77", "metadata": {"customer": "acme"}},
    "sign-in.sign_up": {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"},
    "sign-in.verify_email": {"token": TOKEN, "password": PASSWORD},
    "sign-in.ask_to_verify": {"email": "ada@example.com"},
    "sign-in.sign_in_user": {"email": "ada@example.com", "password": PASSWORD},
    "sign-in.refresh": {"refresh_token": "Zm9yIGV4YW1wbGUgb25seSwgbm8gdG9rZW4gb2YgYW55Ym9keQ"},
    "sign-in.accept_as_new": {"token": TOKEN, "password": PASSWORD, "name": "Ada"},
    "sign-in.ask_to_reset": {"email": "ada@example.com"},
    "sign-in.reset_password": {"token": TOKEN, "password": PASSWORD},
    "me.rename_me": {"name": "Ada"},
    "me.change_password": {"old_password": PASSWORD, "new_password": "seven green herons by the weir"},
    "me.enrol": {"password": PASSWORD},
    "me.confirm": {"code": "492039"},
    "me.remove": {"password": PASSWORD, "code": "492039"},
    "me.renew_recovery_codes": {"password": PASSWORD},
    "identities.begin_link": {"password": PASSWORD},
    "oidc.finish": {"ticket": "usr_01m8n68v92ex4sftxqvbxqdtbs.1796025600.Zm9yIGV4YW1wbGU", "code": "492039"},
    "projects.update_project": {"phase": "analysis"},
    "projects.revise_specification": {"value": "99.95%", "reasoning": "agreed on the phone"},
    "projects.resolve_conflict": {"status": "resolved"},
    "projects.share": {"team_id": "team_01m8n68v92ex4sftxqvbxqdtbs", "access": "read"},
    "projects.put_share": {"access": "write"},
    "system.put_team_tier": {"tier": "pro", "otherwise": {"members": 40}},
    "system.grant": {"email": "ada@example.com", "role": "support"},
    "teams.create_team": {"name": "Acme"},
    "teams.accept": {"token": TOKEN},
    "team.rename_team": {"name": "Acme Ltd"},
    "team.invite": {"email": "grace@example.com", "role": "developer"},
    "team.change_role": {"role": "lead"},
}  # fmt: skip
"""By endpoint."""

WORDS: Mapping[str, Any] = {
    "agent": "project_manager", "action": "bootstrap", "name": "nightly", "step": "read_document", "queue": "cpu",
    "email": "ada@example.com", "url": URL, "event_type": "job.succeeded", "type": "job.succeeded", "cron": "0 3 * * *",
    "timezone": "Europe/Vienna", "media_type": "application/pdf", "sha256": "9f86d081884c7d659a2feaa0c55ad015" * 2,
    "role": "developer", "address": "203.0.113.7", "user_agent": "curl/8.5", "cost_usd": "0.0312", "model": "example-1",
    "description": "orders of the shop", "reason": "the order was withdrawn", "label": "Acme",
    "prefix": "agora_1f2e3d4c",
    "uri": "otpauth://totp/Agora:ada%40example.com?secret=EXAMPLE", "progress_message": "half of it is read",
}  # fmt: skip
IDS: Mapping[str, str] = {
    "job": "job", "root": "job", "parent": "job", "new_job": "job", "batch": "bat", "schedule": "sch",
    "event": "evt", "endpoint": "whe", "delivery": "whd", "session": "sgn", "worker": "wrk", "key": "key",
    "user": "usr", "team": "team",
}  # fmt: skip
"""What ids begin with, by what the name of a field says before ``_id``."""
SUFFIX = "_01m8n68v92ex4sftxqvbxqdtbs"
FORMATS: Mapping[str, str] = {"date-time": "2026-11-30T06:15:32.123Z", "uri-reference": f"/api/v1/jobs/job{SUFFIX}"}
DEEPEST = 8


def of_schema(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
    """A value that a schema accepts, as the answers of the API look; ``schemas`` are the document's own."""
    if "$ref" in schema:
        return of_schema(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas, name, depth)
    for known in ("example", "const", "default"):
        if known in schema and not (known == "default" and schema[known] is None):
            return schema[known]
    if "enum" in schema:
        return next(one for one in schema["enum"] if one is not None)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return of_schema(schema[several][0], schemas, name, depth)
    kinds = schema.get("type", "null")
    kind = kinds if isinstance(kinds, str) else next(one for one in kinds if one != "null")
    if kind == "object":
        members = schema.get("properties", {}) if depth < DEEPEST else {}
        return {key: of_schema(inner, schemas, key, depth + 1) for key, inner in members.items()}
    if kind == "array":
        item = schema.get("items", {})
        return [of_schema(item, schemas, name.removesuffix("s"), depth + 1)] if depth < DEEPEST else []
    return _simple(kind, schema, name)


def _simple(kind: str, schema: Mapping[str, Any], name: str) -> Any:
    least = schema.get("minimum", 0)
    if kind in {"integer", "number"}:
        return max(1, least)
    if kind != "string":
        return {"boolean": False}.get(kind)
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    if name in WORDS:
        return WORDS[name]
    before, _, ending = name.rpartition("_")
    if ending == "id":
        return IDS.get(before, "job") + SUFFIX
    return "text"
