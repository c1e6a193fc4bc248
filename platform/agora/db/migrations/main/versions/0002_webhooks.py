"""Webhooks: endpoints, deliveries, attempts, and ids made in the database."""

from datetime import UTC, datetime

from alembic import op
from sqlalchemy.orm import Session

from agora.db.partitions import ensure_partitions

revision = "0002"
down_revision = "0001"

# A fan-out inserts as many rows as endpoints match, in one statement: their ids cannot come from outside.
NEW_ID = """
CREATE FUNCTION agora_new_id(prefix TEXT) RETURNS TEXT LANGUAGE sql VOLATILE PARALLEL SAFE AS $function$
    SELECT prefix || '_' || string_agg(
        substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + substring(u.bits FROM 5 * n + 1 FOR 5)::bit(5)::int, 1), ''
        ORDER BY n
    )
    FROM (
        SELECT B'00' || ('x'
            || lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
            || '7' || substr(r, 14, 3) || substr(r, 17, 16))::bit(128) AS bits
        FROM replace(gen_random_uuid()::text, '-', '') AS r
    ) u, generate_series(0, 25) AS n
$function$;
"""

TABLES = """
CREATE TABLE webhook_attempts (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    delivery_id TEXT COLLATE "C" NOT NULL,
    number SMALLINT NOT NULL,
    delivered BOOLEAN NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    duration_ms INTEGER NOT NULL,
    timings JSONB NOT NULL,
    status_code SMALLINT,
    error_class TEXT,
    error TEXT,
    request_headers JSONB NOT NULL,
    response_headers JSONB,
    response_body TEXT,
    peer_address TEXT,
    CONSTRAINT webhook_attempts_pkey PRIMARY KEY (id)
)
 PARTITION BY RANGE (id);
CREATE INDEX webhook_attempts_delivery_id_idx ON webhook_attempts (delivery_id);
CREATE TABLE webhook_deliveries (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    endpoint_id TEXT COLLATE "C" NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C",
    event_type TEXT NOT NULL,
    body TEXT NOT NULL,
    status TEXT NOT NULL,
    attempt SMALLINT DEFAULT '0' NOT NULL,
    lost_leases SMALLINT DEFAULT '0' NOT NULL,
    next_attempt_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    lease_token TEXT,
    lease_expires_at TIMESTAMP WITH TIME ZONE,
    last_status_code SMALLINT,
    last_error TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_deliveries_event_id_endpoint_id_key UNIQUE (event_id, endpoint_id),
    CONSTRAINT webhook_deliveries_status_check CHECK (status IN ('pending', 'leased', 'succeeded', 'exhausted', 'held', 'cancelled')),
    CONSTRAINT webhook_deliveries_lease_check CHECK ((lease_token IS NOT NULL) = (status = 'leased')),
    CONSTRAINT webhook_deliveries_ended_check CHECK ((ended_at IS NOT NULL) = (status IN ('cancelled', 'exhausted', 'succeeded')))
)
 WITH (fillfactor = 70);
CREATE INDEX webhook_deliveries_endpoint_id_idx ON webhook_deliveries (endpoint_id, id DESC);
CREATE INDEX webhook_deliveries_held_idx ON webhook_deliveries (endpoint_id) WHERE status = 'held';
CREATE INDEX webhook_deliveries_job_id_idx ON webhook_deliveries (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX webhook_deliveries_lease_idx ON webhook_deliveries (lease_expires_at) WHERE status = 'leased';
CREATE INDEX webhook_deliveries_leased_idx ON webhook_deliveries (endpoint_id) WHERE status = 'leased';
CREATE INDEX webhook_deliveries_pending_idx ON webhook_deliveries (endpoint_id, next_attempt_at, id) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_team_id_idx ON webhook_deliveries (team_id, id DESC);
CREATE TABLE webhook_endpoints (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    uid TEXT,
    kind TEXT DEFAULT 'endpoint' NOT NULL,
    job_id TEXT COLLATE "C",
    url TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    event_types TEXT[] NOT NULL,
    agents TEXT[] DEFAULT '{}' NOT NULL,
    headers JSONB DEFAULT '{}' NOT NULL,
    secrets TEXT[] NOT NULL,
    schedule DOUBLE PRECISION[],
    max_in_flight INTEGER DEFAULT '32' NOT NULL,
    metadata JSONB DEFAULT '{}' NOT NULL,
    status TEXT DEFAULT 'active' NOT NULL,
    status_reason TEXT,
    next_due_at TIMESTAMP WITH TIME ZONE,
    last_served_at TIMESTAMP WITH TIME ZONE,
    last_success_at TIMESTAMP WITH TIME ZONE,
    failing_since TIMESTAMP WITH TIME ZONE,
    consecutive_failures INTEGER DEFAULT '0' NOT NULL,
    open_until TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_endpoints_status_check CHECK (status IN ('active', 'paused', 'disabled')),
    CONSTRAINT webhook_endpoints_kind_check CHECK ((kind = 'endpoint' AND job_id IS NULL) OR (kind = 'inline' AND job_id IS NOT NULL)),
    CONSTRAINT webhook_endpoints_max_in_flight_check CHECK (max_in_flight BETWEEN 1 AND 1000)
)
 WITH (fillfactor = 70);
CREATE INDEX webhook_endpoints_due_idx ON webhook_endpoints (next_due_at) WHERE status = 'active';
CREATE INDEX webhook_endpoints_job_id_idx ON webhook_endpoints (job_id) WHERE kind = 'inline';
CREATE INDEX webhook_endpoints_team_id_idx ON webhook_endpoints (team_id, id DESC) WHERE kind = 'endpoint';
CREATE UNIQUE INDEX webhook_endpoints_uid_idx ON webhook_endpoints (team_id, uid) WHERE uid IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(NEW_ID)
    op.execute(TABLES)
    op.execute("CREATE TABLE webhook_attempts_default PARTITION OF webhook_attempts DEFAULT")
    session = Session(op.get_bind(), join_transaction_mode="create_savepoint")
    ensure_partitions(session, "webhook_attempts", "wha", moment=datetime.now(UTC))
    session.commit()
