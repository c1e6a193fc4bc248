"""Webhooks: signing keys as rows, rates, order, slow starts, warnings, put-off fan-outs, replays and portal links."""

from alembic import op

revision = "0021"
down_revision = "0020"

KEYS = """
CREATE TABLE webhook_keys (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    endpoint_id TEXT COLLATE "C",
    algorithm TEXT NOT NULL,
    sealed TEXT NOT NULL,
    public_key TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT webhook_keys_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_keys_algorithm_check CHECK (algorithm IN ('v1', 'v1a')),
    CONSTRAINT webhook_keys_public_key_check CHECK ((public_key IS NOT NULL) = (algorithm = 'v1a')),
    CONSTRAINT webhook_keys_endpoint_id_fkey FOREIGN KEY(endpoint_id) REFERENCES webhook_endpoints (id)
        ON DELETE CASCADE
);
CREATE INDEX webhook_keys_endpoint_id_idx ON webhook_keys (endpoint_id) WHERE endpoint_id IS NOT NULL;
CREATE INDEX webhook_keys_team_id_idx ON webhook_keys (team_id) WHERE endpoint_id IS NULL;
INSERT INTO webhook_keys (id, team_id, endpoint_id, algorithm, sealed, created_at)
SELECT agora_new_id('whk'), e.team_id, e.id, 'v1', s.sealed, e.created_at
FROM webhook_endpoints e CROSS JOIN LATERAL unnest(e.secrets) AS s (sealed);
"""

ENDPOINTS = """
ALTER TABLE webhook_endpoints
    DROP COLUMN secrets,
    ADD COLUMN signing TEXT DEFAULT 'own' NOT NULL,
    ADD COLUMN projects TEXT[] DEFAULT '{}' NOT NULL,
    ADD COLUMN payload TEXT DEFAULT 'thin' NOT NULL,
    ADD COLUMN schema_version SMALLINT DEFAULT '1' NOT NULL,
    ADD COLUMN rate_limit DOUBLE PRECISION,
    ADD COLUMN tokens DOUBLE PRECISION,
    ADD COLUMN tokens_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN fifo TEXT,
    ADD COLUMN draining BOOLEAN DEFAULT false NOT NULL,
    ADD COLUMN allowance INTEGER DEFAULT '4' NOT NULL,
    ADD COLUMN recent_tries INTEGER DEFAULT '0' NOT NULL,
    ADD COLUMN recent_failures INTEGER DEFAULT '0' NOT NULL,
    ADD COLUMN recent_since TIMESTAMP WITH TIME ZONE,
    ADD COLUMN warned SMALLINT DEFAULT '0' NOT NULL,
    ADD CONSTRAINT webhook_endpoints_signing_check CHECK (signing IN ('own', 'team')),
    ADD CONSTRAINT webhook_endpoints_payload_check CHECK (payload IN ('thin', 'full')),
    ADD CONSTRAINT webhook_endpoints_rate_limit_check CHECK (rate_limit BETWEEN 0.01 AND 10000),
    ADD CONSTRAINT webhook_endpoints_fifo_check CHECK (fifo IN ('endpoint', 'job', 'project')),
    ADD CONSTRAINT webhook_endpoints_allowance_check CHECK (allowance >= 1),
    ADD CONSTRAINT webhook_endpoints_warned_check CHECK (warned BETWEEN 0 AND 100);
UPDATE webhook_endpoints SET allowance = max_in_flight
WHERE last_success_at IS NOT NULL AND consecutive_failures = 0;
CREATE INDEX webhook_endpoints_any_team_id_idx ON webhook_endpoints (team_id);
CREATE INDEX webhook_endpoints_draining_idx ON webhook_endpoints (id) WHERE draining AND status = 'active';
"""

# A delivery without a next_attempt_at waits for its turn behind another of its order_key.
DELIVERIES = """
ALTER TABLE webhook_deliveries
    ALTER COLUMN next_attempt_at DROP NOT NULL,
    ADD COLUMN full_payload BOOLEAN DEFAULT false NOT NULL,
    ADD COLUMN order_key TEXT,
    ADD COLUMN place BIGINT,
    ADD COLUMN earlier_attempts SMALLINT DEFAULT '0' NOT NULL,
    ADD CONSTRAINT webhook_deliveries_order_check CHECK ((order_key IS NULL) = (place IS NULL)),
    ADD CONSTRAINT webhook_deliveries_turn_check
        CHECK (next_attempt_at IS NOT NULL OR (order_key IS NOT NULL AND status IN ('pending', 'held', 'cancelled')));
DROP INDEX webhook_deliveries_held_idx;
CREATE INDEX webhook_deliveries_held_idx ON webhook_deliveries (endpoint_id, id) WHERE status = 'held';
CREATE SEQUENCE webhook_places AS BIGINT CACHE 1;
CREATE INDEX webhook_deliveries_order_idx ON webhook_deliveries (endpoint_id, order_key, place)
    WHERE order_key IS NOT NULL AND status IN ('pending', 'leased', 'held');
"""

TABLES = """
CREATE TABLE webhook_fan_outs (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    events JSONB NOT NULL,
    after TEXT COLLATE "C" DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT webhook_fan_outs_pkey PRIMARY KEY (id)
);
CREATE TABLE webhook_replays (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    endpoint_id TEXT COLLATE "C",
    action TEXT NOT NULL,
    filter JSONB NOT NULL,
    status TEXT DEFAULT 'running' NOT NULL,
    matched INTEGER NOT NULL,
    done INTEGER DEFAULT '0' NOT NULL,
    skipped INTEGER DEFAULT '0' NOT NULL,
    after TEXT COLLATE "C" DEFAULT '' NOT NULL,
    touched_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT webhook_replays_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_replays_action_check CHECK (action IN ('recover', 'replay')),
    CONSTRAINT webhook_replays_status_check CHECK (status IN ('running', 'completed', 'cancelled')),
    CONSTRAINT webhook_replays_ended_check CHECK ((ended_at IS NULL) = (status = 'running'))
);
CREATE INDEX webhook_replays_open_idx ON webhook_replays (touched_at) WHERE status = 'running';
CREATE INDEX webhook_replays_team_id_idx ON webhook_replays (team_id, id DESC);
CREATE TABLE webhook_portal_links (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    label TEXT DEFAULT '' NOT NULL,
    scope JSONB DEFAULT '{}' NOT NULL,
    read_only BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT webhook_portal_links_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX webhook_portal_links_hash_idx ON webhook_portal_links (hash);
CREATE INDEX webhook_portal_links_team_id_idx ON webhook_portal_links (team_id, id DESC);
"""


def upgrade() -> None:
    op.execute(KEYS)
    op.execute(ENDPOINTS)
    op.execute(DELIVERIES)
    op.execute(TABLES)
