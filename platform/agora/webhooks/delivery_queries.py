"""SQL of the sender: claim, settle, release. For all teams; rows are guarded by their lease token.

Lock order everywhere: endpoints by id, then deliveries. What locks deliveries first never waits for an endpoint.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

CHOOSE = text("""
SELECT id FROM webhook_endpoints
WHERE status = 'active' AND next_due_at <= now() AND (open_until IS NULL OR open_until <= now())
  AND (CAST(:failing AS boolean) IS NULL OR (consecutive_failures > 0) = :failing)
  AND (kind <> 'inline' OR team_id <> ALL(CAST(:crowded AS text[])))
ORDER BY last_served_at NULLS FIRST, id
LIMIT :slice
FOR NO KEY UPDATE SKIP LOCKED
""")

# How many more deliveries an endpoint may have under way. None while the oldest of them has been silent for a while and
# nothing succeeded since it began: else many endpoints that go silent at once would fill every sender.
ROOM = """GREATEST(0, (
    SELECT CASE WHEN min(l.lease_expires_at) < now() + make_interval(secs => :lease - :silent)
                 AND COALESCE(e.last_success_at < min(l.lease_expires_at) - make_interval(secs => :lease), true)
                THEN 0 ELSE LEAST(e.max_in_flight, e.allowance) - count(*) END
    FROM webhook_deliveries l WHERE l.endpoint_id = e.id AND l.status = 'leased'))"""

# The lock of CHOOSE makes claims on one endpoint follow one another, and this second statement counts with a snapshot
# of its own: so the cap holds. A rate is a bucket of one second's worth, at least one; a clock that was set back takes
# nothing out of it. Of deliveries that keep an order, one that is due although another is before it gives up its time
# until it is the first.
LEASE = text(f"""
WITH bucket AS MATERIALIZED (
    SELECT e.id, e.rate_limit,
           CASE WHEN e.rate_limit IS NOT NULL THEN LEAST(
               GREATEST(1, e.rate_limit),
               COALESCE(e.tokens, GREATEST(1, e.rate_limit))
               + e.rate_limit * GREATEST(0, extract(epoch FROM now() - COALESCE(e.tokens_at, now())))) END AS tokens,
           {ROOM} AS room,
           CASE e.signing WHEN 'own' THEN ARRAY(
               SELECT k.sealed FROM webhook_keys k
               WHERE k.endpoint_id = e.id AND (k.expires_at IS NULL OR k.expires_at > now()) ORDER BY k.id DESC)
           ELSE ARRAY(
               SELECT k.sealed FROM webhook_keys k
               WHERE k.team_id = e.team_id AND k.endpoint_id IS NULL
                 AND (k.expires_at IS NULL OR k.expires_at > now()) ORDER BY k.id DESC)
           END AS keys
    FROM webhook_endpoints e
    WHERE e.id = ANY(:endpoint_ids)
), room AS MATERIALIZED (
    SELECT id, rate_limit, tokens, keys, GREATEST(0, LEAST(room, floor(tokens))) AS free,
           floor(tokens) <= room AS metered
    FROM bucket
), picked AS MATERIALIZED (
    SELECT d.id, r.id AS endpoint_id, r.keys,
           d.order_key IS NULL OR NOT EXISTS (
               SELECT FROM webhook_deliveries b
               WHERE b.endpoint_id = r.id AND b.order_key = d.order_key AND b.place < d.place
                 AND b.status IN ('pending', 'leased', 'held')) AS first
    FROM room r CROSS JOIN LATERAL (
        SELECT id, order_key, place FROM webhook_deliveries
        WHERE endpoint_id = r.id AND status = 'pending' AND next_attempt_at <= now()
        ORDER BY next_attempt_at, id
        LIMIT LEAST(r.free, :share)
        FOR UPDATE SKIP LOCKED
    ) d
), served AS (
    SELECT r.*, (SELECT count(*) FROM picked p WHERE p.endpoint_id = r.id) AS got,
           (SELECT d.next_attempt_at FROM webhook_deliveries d
            WHERE d.endpoint_id = r.id AND d.status = 'pending' AND NOT EXISTS (SELECT FROM picked p WHERE p.id = d.id)
            ORDER BY d.next_attempt_at LIMIT 1) AS following
    FROM room r
), noted AS (
    UPDATE webhook_endpoints e SET
        last_served_at = CASE WHEN s.got > 0 THEN now() ELSE e.last_served_at END,
        tokens = s.tokens - s.got, tokens_at = CASE WHEN s.rate_limit IS NOT NULL THEN now() END,
        next_due_at = CASE
            WHEN s.got >= s.free AND s.metered IS NOT TRUE THEN NULL  -- full: settling looks again
            ELSE GREATEST(
                CASE WHEN s.got > 0 THEN LEAST(s.following, now() + make_interval(secs => :second_look))
                     ELSE s.following END,
                CASE WHEN s.got >= s.free THEN now() + make_interval(secs => (1 + s.got - s.tokens) / s.rate_limit) END)
        END
    FROM served s
    WHERE e.id = s.id
)
UPDATE webhook_deliveries d
SET status = CASE WHEN p.first THEN 'leased' ELSE 'pending' END,
    attempt = d.attempt + CASE WHEN p.first THEN 1 ELSE 0 END,
    lease_token = CASE WHEN p.first THEN :token END,
    lease_expires_at = CASE WHEN p.first THEN now() + make_interval(secs => :lease) END,
    next_attempt_at = CASE WHEN p.first THEN d.next_attempt_at END
FROM picked p JOIN webhook_endpoints e ON e.id = p.endpoint_id
WHERE d.id = p.id
RETURNING d.id, d.team_id, d.endpoint_id, d.event_id, d.event_type, d.job_id, d.body, d.full_payload, d.order_key,
          d.attempt, d.earlier_attempts, d.lease_token, p.keys, e.url, e.headers, e.schedule, e.kind, e.uid,
          e.consecutive_failures > 0 AS failing
""")

SECOND_LOOK = 0.2
"""Seconds after which a served endpoint is looked at again: a fan-out that commits just now was not visible."""
SILENT_SECONDS = 1.0
"""An endpoint that has not answered for so long, and did not succeed since, gets no more until it has."""
LEASE_MARGIN = 10.0
"""Seconds that a lease outlives the deadline of its try: time to settle, also through a short outage."""
MOST_LOOKS = 5
"""Slices of endpoints that one claim looks through when none of them has room."""


def lease_of(timeout: float) -> float:
    """Seconds of a lease for tries with this deadline."""
    return timeout + LEASE_MARGIN


def claim(
    session: Session,
    *,
    room: int,
    slice_: int,
    token: str,
    lease: float,
    failing: bool | None = None,
    crowded: Collection[str] = (),
) -> Sequence[RowMapping]:
    """Lease up to ``room`` due deliveries for ``lease`` seconds: the least recently served endpoints first.

    ``failing``: only to endpoints whose last try found nobody, or only to all others. ``crowded``: teams whose in-line
    endpoints get nothing now.
    """
    most, parameters = min(room, slice_), {
        "token": token, "lease": lease, "silent": SILENT_SECONDS, "second_look": SECOND_LOOK,
    }  # fmt: skip
    for _ in range(MOST_LOOKS):
        endpoint_ids = session.scalars(CHOOSE, {"slice": most, "failing": failing, "crowded": list(crowded)}).all()
        if not endpoint_ids:
            break
        chosen = {"endpoint_ids": list(endpoint_ids), "share": room // len(endpoint_ids)}
        rows = session.execute(LEASE, parameters | chosen).mappings().all()
        leased = [row for row in rows if row["lease_token"] is not None]
        if leased or len(endpoint_ids) < most:
            return leased
    return []


OWNED = text("SELECT EXISTS (SELECT FROM webhook_deliveries WHERE id = :id AND lease_token = :token)")


def owns_lease(session: Session, *, delivery_id: str, token: str) -> bool:
    """Whether the lease is still this one."""
    return bool(session.execute(OWNED, {"id": delivery_id, "token": token}).scalar())


LOCK = text("""
SELECT id, team_id, uid, url, kind, status, consecutive_failures, failing_since, warned, allowance, max_in_flight,
       recent_tries, recent_failures, recent_since, open_until > now() AS resting
FROM webhook_endpoints
WHERE id = ANY(:ids)
ORDER BY id
FOR NO KEY UPDATE
""")


def lock_endpoints(session: Session, *, ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Lock the endpoints that are to be written, in order; those deleted meanwhile are missing."""
    return {row["id"]: dict(row) for row in session.execute(LOCK, {"ids": sorted(ids)}).mappings()}


# next_attempt_at stays when the endpoint was paused meanwhile: resuming finds the time there.
SETTLE = text("""
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r (
        delivery_id text, token text, status text, pause double precision, status_code smallint, last_error text,
        attempt_id text, delivered boolean, started_at timestamptz, duration_ms integer, timings jsonb,
        error_class text, error text, request_headers jsonb, response_headers jsonb, response_body text,
        peer_address text)
), settled AS (
    UPDATE webhook_deliveries d SET
        status = CASE WHEN r.status = 'pending' AND e.status <> 'active' THEN 'held' ELSE r.status END,
        next_attempt_at = CASE WHEN r.pause IS NULL THEN d.next_attempt_at
                               ELSE clock_timestamp() + make_interval(secs => r.pause) END,
        lease_token = NULL, lease_expires_at = NULL,
        last_status_code = r.status_code, last_error = r.last_error,
        ended_at = CASE WHEN r.status IN ('succeeded', 'exhausted') THEN clock_timestamp() END
    FROM given r
    JOIN webhook_deliveries w ON w.id = r.delivery_id
    LEFT JOIN webhook_endpoints e ON e.id = w.endpoint_id
    WHERE d.id = r.delivery_id AND d.status = 'leased' AND d.lease_token = r.token
    RETURNING d.id, d.team_id, d.attempt, d.earlier_attempts
), tried AS (
    INSERT INTO webhook_attempts (id, team_id, delivery_id, number, delivered, started_at, duration_ms, timings,
        status_code, error_class, error, request_headers, response_headers, response_body, peer_address)
    SELECT r.attempt_id, s.team_id, s.id, s.earlier_attempts + s.attempt, r.delivered, r.started_at, r.duration_ms,
           r.timings, r.status_code, r.error_class, r.error, r.request_headers, r.response_headers, r.response_body,
           r.peer_address
    FROM settled s JOIN given r ON r.delivery_id = s.id
)
SELECT id FROM settled
""")


def settle(session: Session, *, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Write how tries ended, and their attempts; returns the deliveries whose lease was still the given one."""
    return set(session.scalars(SETTLE, {"rows": json.dumps(list(rows), ensure_ascii=False)}))


UPDATE_ENDPOINTS = text("""
UPDATE webhook_endpoints e SET
    consecutive_failures = n.failures, allowance = n.allowance,
    recent_tries = n.tries, recent_failures = n.failed, recent_since = n.since,
    open_until = CASE WHEN n.rest IS NULL THEN e.open_until ELSE now() + make_interval(secs => n.rest) END,
    last_success_at = CASE WHEN n.delivered THEN now() ELSE e.last_success_at END,
    failing_since = CASE WHEN n.healthy THEN NULL WHEN n.delivered THEN now()
                         ELSE COALESCE(e.failing_since, now()) END,
    warned = CASE WHEN n.delivered THEN 0 ELSE GREATEST(e.warned, n.warn) END,
    status = CASE WHEN n.disabled IS NULL THEN e.status ELSE 'disabled' END,
    status_reason = COALESCE(n.disabled, e.status_reason),
    updated_at = CASE WHEN n.disabled IS NULL THEN e.updated_at ELSE now() END,
    next_due_at = GREATEST(
        LEAST((SELECT d.next_attempt_at FROM webhook_deliveries d WHERE d.endpoint_id = e.id AND d.status = 'pending'
               ORDER BY d.next_attempt_at LIMIT 1), clock_timestamp() + make_interval(secs => :second_look)),
        CASE WHEN n.rest IS NULL THEN e.open_until ELSE now() + make_interval(secs => n.rest) END,
        LEAST(e.tokens_at, now()) + make_interval(secs => (1 - e.tokens) / e.rate_limit))
FROM jsonb_to_recordset(CAST(:notes AS jsonb)) AS n (
    id text, failures integer, allowance integer, tries integer, failed integer, since timestamptz,
    rest double precision, delivered boolean, healthy boolean, warn smallint, disabled text)
WHERE e.id = n.id
""")

# At most so many, since others wait for this transaction; what stays pending is not sent while its endpoint is not
# active.
HOLD = text("""
UPDATE webhook_deliveries SET status = 'held'
WHERE id IN (SELECT id FROM webhook_deliveries WHERE endpoint_id = ANY(:ids) AND status = 'pending' LIMIT 10000)
  AND status = 'pending'
""")


def note_endpoints(session: Session, *, notes: Sequence[Mapping[str, Any]]) -> None:
    """Write what tries told about endpoints that the caller has locked, and when to look at them again."""
    session.execute(UPDATE_ENDPOINTS, {"notes": json.dumps(list(notes)), "second_look": SECOND_LOOK})
    disabled = [note["id"] for note in notes if note["disabled"] is not None]
    if disabled:
        session.execute(HOLD, {"ids": disabled})


RELEASE = text("""
UPDATE webhook_deliveries d
SET status = CASE e.status WHEN 'active' THEN 'pending' ELSE 'held' END,
    attempt = d.attempt - 1, next_attempt_at = now(), lease_token = NULL, lease_expires_at = NULL
FROM webhook_endpoints e
WHERE e.id = d.endpoint_id AND d.id = ANY(:ids) AND d.status = 'leased' AND d.lease_token = ANY(:tokens)
""")


def release(session: Session, *, ids: Sequence[str], tokens: Sequence[str]) -> int:
    """Give leases back unsent, without spending a try."""
    parameters = {"ids": list(ids), "tokens": list(tokens)}
    return session.execute(RELEASE, parameters).rowcount  # type: ignore[attr-defined,no-any-return]
