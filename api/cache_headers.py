"""Who may keep an answer (RFC 9111): nobody, unless it is said here or by the view itself."""

from flask import Flask, Response, g, request

from api.auth import TEAM_HEADER

NOBODY, ONLY_CALLER, ANYBODY = "no-store", "private, no-cache", "public, max-age=300"
READS = frozenset(
    {
        "agents", "batches", "budgets", "bulk", "event-types", "events", "files", "holds", "jobs", "limits", "lineage",
        "moves", "projects", "queues", "quotas", "schedules", "webhook-deliveries", "webhook-endpoints",
        "webhook-replays",
    }
)  # fmt: skip
"""Blueprints whose reads the caller may keep, if they ask each time whether it is still so. Others show credentials, or
people."""
PUBLIC = frozenset({"docs.page", "api-docs.openapi_json"})
"""The same for everybody until the next release."""
READ_METHODS = frozenset({"GET", "HEAD"})
GOOD = frozenset({200, 206, 304})
VARIES = ("Authorization", TEAM_HEADER, "Accept")
"""What decides about the answer to a caller with credentials."""


def show_policy(response: Response) -> Response:
    """Say who may keep the answer, and what it depends on."""
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = _policy(response)
    if "principal" in g and response.headers["Cache-Control"] != NOBODY:
        response.vary.update(VARIES)
    return response


def _policy(response: Response) -> str:
    if request.method not in READ_METHODS or response.status_code not in GOOD:
        return NOBODY
    if request.endpoint in PUBLIC:
        return ANYBODY
    return ONLY_CALLER if "principal" in g and request.blueprint in READS else NOBODY


def install(app: Flask) -> None:
    """Apply to every answer."""
    app.after_request(show_policy)
