"""Headers in the OpenAPI document: what operations take, and what answers have besides what every answer has."""

from collections.abc import Iterator, Mapping
from typing import Any

from api.auth import TEAM_HEADER

ALWAYS = {
    "X-Request-Id": "The id of the request, as in logs.",
    "Agora-Version": "The version that the answer speaks.",
    "RateLimit-Policy": "The limits that the request counted for: `q` requests in `w` seconds "
    "(draft-ietf-httpapi-ratelimit-headers-09). Not there where there is none.",
    "RateLimit": "Of each, `r` is how many requests are left, and `t` the seconds until all are.",
}
"""Headers of every answer, and what they say."""
DEPRECATING = {
    "Deprecation": "Since when what the request speaks is deprecated, if it is: `@` and seconds since 1970 (RFC 9745).",
    "Sunset": "Until when it is answered at least (RFC 8594).",
    "Link": "`successor-version`: what came after it; `deprecation`: what is to be done.",
}
"""Headers of answers to what is deprecated."""
WAITING = {"Retry-After": "Seconds until to come back."}
SENT: Mapping[str, tuple[str, dict[str, Any]]] = {
    "Idempotency-Key": (
        "A repeat with the same key and body, within 24 hours, gets what the first one made.",
        {"type": "string", "pattern": "^[!-~]{1,255}$"},
    ),
    TEAM_HEADER: (
        "The team that a user means; without it, their own. A key belongs to one team, and need not name it.",
        {"type": "string", "pattern": "^team_[0-7][0-9a-hjkmnp-tv-z]{25}$"},
    ),
    "Prefer": ("`wait=10`: answer once the job has ended, or after so many seconds.", {"type": "string"}),
    "traceparent": ("The trace that the work belongs to (W3C Trace Context).", {"type": "string"}),
    "Last-Event-ID": (
        "A live stream goes on behind this `id`, a number of 0 to 2147483647. A list passes it over, whatever it is.",
        {"type": "string"},
    ),
}
"""Headers that operations take: that of the team whatever needs credentials, the others some."""
TAKEN: Mapping[str, tuple[str, ...]] = {
    "jobs.submit": ("Idempotency-Key", "Prefer", "traceparent"),
    "batches.submit_batch": ("Idempotency-Key", "traceparent"),
    "events.list_events": ("Last-Event-ID",),
} | dict.fromkeys(
    (
        "bulk.begin_bulk", "holds.create_hold", "keys.create_key", "keys.rotate_key", "lineage.fork_job",
        "lineage.retry_job", "schedules.create_schedule", "schedules.run_schedule", "team.invite",
        "teams.create_team", "webhook-endpoint-keys.add_endpoint_key", "webhook-endpoints.create_endpoint",
        "webhook-endpoints.recover_endpoint", "webhook-key-rotations.rotate_endpoint_key",
        "webhook-key-rotations.rotate_team_key", "webhook-keys.add_team_key",
        "webhook-portal-links.create_portal_link", "webhook-replays.begin_replay",
    ),
    ("Idempotency-Key",),
)  # fmt: skip
"""By endpoint."""
REPLAYED = tuple(endpoint for endpoint, names in TAKEN.items() if "Idempotency-Key" in names)
OWN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Location": (
        "Where what was made is; where the browser is to go.",
        (
            "batches.submit_batch", "bulk.begin_bulk", "holds.create_hold", "jobs.submit", "lineage.fork_job",
            "lineage.retry_job", "oidc.start", "schedules.create_schedule", "schedules.run_schedule",
            "webhook-endpoints.create_endpoint", "webhook-endpoints.recover_endpoint",
            "webhook-portal-links.create_portal_link", "webhook-replays.begin_replay",
        ),
    ),
    "Idempotent-Replayed": ("`true`: the key came before, and this is what the first request made.", REPLAYED),
    "Preference-Applied": ("`wait`: the answer waited, as `Prefer` asked for.", ("jobs.submit",)),
    "Content-Disposition": (
        "That it is a download, and what to call it.",
        ("audit.export_entries", "files.get_content", "system-audit.export_platform_entries"),
    ),
    "Set-Cookie": (
        "By which the browser that began is known when it comes back, and no other.",
        ("identities.begin_link", "oidc.callback", "oidc.start"),
    ),
    "ETag": (
        "Names this state of it.",
        (
            "holds.create_hold", "holds.release_hold", "keys.create_key", "keys.rotate_key", "projects.share",
            "schedules.create_schedule", "schedules.pause_schedule", "schedules.resume_schedule",
            "sign-in.accept_as_new", "sign-in.verify_email", "teams.accept", "webhook-endpoints.create_endpoint",
            "webhook-endpoints.pause_endpoint", "webhook-endpoints.resume_endpoint",
            "webhook-portal-links.create_portal_link",
        ),
    ),
    "Content-Location": ("Whose state the body is: the object's, as it is now.", ()),
    "WWW-Authenticate": ("What to send: `Bearer`, with a key or an access token.", ()),
}  # fmt: skip
"""Headers of some answers: what they say, and whose successes have them. Reads, edits and 401 have theirs by rule."""
DRY_RUNS = frozenset({"bulk.begin_bulk", "webhook-endpoints.recover_endpoint", "webhook-replays.begin_replay"})
"""Endpoints whose 200 says that nothing was made."""
OK, ERROR, UNAUTHORIZED = 200, 400, 401
TAGGED = frozenset({200, 304, 412})
"""Answers to reads of what has a tag that name it: also why the one that the caller gave did not match."""
LATER = frozenset({429, 503})


def described() -> dict[str, dict[str, Any]]:
    """Every header of answers, for the components of the document."""
    texts = ALWAYS | DEPRECATING | WAITING | {name: text for name, (text, _) in OWN.items()}
    return {
        name: {"description": text, "schema": {"type": "integer" if name in WAITING else "string"}}
        for name, text in texts.items()
    }


def headers_of(endpoint: str, method: str, status: int, operation: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The headers of an answer."""
    names = [*ALWAYS, *DEPRECATING, *_own(endpoint, method, status, operation)]
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _own(endpoint: str, method: str, status: int, operation: Mapping[str, Any]) -> Iterator[str]:
    if status in LATER:
        yield from WAITING
    if status == UNAUTHORIZED:
        yield "WWW-Authenticate"
    if method == "get" and "304" in operation["responses"] and status in TAGGED:
        yield "ETag"
    if status >= ERROR or (status == OK and endpoint in DRY_RUNS):
        return
    yield from (name for name, (_, endpoints) in OWN.items() if endpoint in endpoints)
    if method in {"put", "patch"} and "412" in operation["responses"]:  # edits of what has a tag
        yield from ("ETag", "Content-Location")
