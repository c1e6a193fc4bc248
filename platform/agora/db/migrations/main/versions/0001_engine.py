"""The engine: catalogue, workers, jobs, steps, notes, attempts, events, idempotency keys, files."""

from datetime import UTC, datetime

from alembic import op
from sqlalchemy.orm import Session

from agora.db.partitions import ensure_partitions

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE agent_versions (
    agent TEXT NOT NULL,
    action TEXT NOT NULL,
    version INTEGER NOT NULL,
    description TEXT NOT NULL,
    agent_description TEXT NOT NULL,
    spec JSONB NOT NULL,
    fingerprint TEXT NOT NULL,
    registered_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT agent_versions_pkey PRIMARY KEY (agent, action, version)
);
CREATE TABLE attempts (
    id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    step_id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    number SMALLINT NOT NULL,
    outcome TEXT NOT NULL,
    worker_id TEXT COLLATE "C",
    error JSONB,
    started_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT attempts_pkey PRIMARY KEY (id)
)
 PARTITION BY RANGE (id);
CREATE INDEX attempts_job_id_idx ON attempts (job_id);
CREATE TABLE events (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C",
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    version SMALLINT DEFAULT '1' NOT NULL,
    data JSONB NOT NULL,
    occurred_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (id)
)
 PARTITION BY RANGE (id);
CREATE INDEX events_job_id_seq_idx ON events (job_id, seq);
CREATE TABLE files (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    location TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT files_pkey PRIMARY KEY (id),
    CONSTRAINT files_size_check CHECK (size >= 0)
);
CREATE INDEX files_team_id_idx ON files (team_id, id DESC);
CREATE TABLE idempotency_keys (
    team_id TEXT COLLATE "C" NOT NULL,
    key TEXT NOT NULL,
    route TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    resource_id TEXT COLLATE "C" NOT NULL,
    status SMALLINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (team_id, key, route)
);
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);
CREATE TABLE jobs (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C",
    agent TEXT NOT NULL,
    action TEXT NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL,
    priority SMALLINT DEFAULT '5' NOT NULL,
    input JSONB NOT NULL,
    output JSONB,
    error JSONB,
    progress DOUBLE PRECISION DEFAULT '0' NOT NULL,
    progress_message TEXT DEFAULT '' NOT NULL,
    usage JSONB DEFAULT '{}' NOT NULL,
    metadata JSONB DEFAULT '{}' NOT NULL,
    traceparent TEXT,
    root_id TEXT COLLATE "C" NOT NULL,
    parent_id TEXT COLLATE "C",
    retry_of TEXT COLLATE "C",
    event_seq INTEGER DEFAULT '0' NOT NULL,
    run_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    deadline TIMESTAMP WITH TIME ZONE,
    cancel_requested_at TIMESTAMP WITH TIME ZONE,
    cancel_reason TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT jobs_pkey PRIMARY KEY (id),
    CONSTRAINT jobs_status_check CHECK (status IN ('scheduled', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')),
    CONSTRAINT jobs_priority_check CHECK (priority BETWEEN 0 AND 9),
    CONSTRAINT jobs_progress_check CHECK (progress BETWEEN 0 AND 1),
    CONSTRAINT jobs_ended_check CHECK ((ended_at IS NOT NULL) = (status IN ('cancelled', 'failed', 'succeeded')))
)
 WITH (fillfactor = 70);
CREATE INDEX jobs_deadline_idx ON jobs (deadline) WHERE deadline IS NOT NULL AND ended_at IS NULL;
CREATE INDEX jobs_team_id_idx ON jobs (team_id, id DESC);
CREATE INDEX jobs_team_status_idx ON jobs (team_id, status, id DESC);
CREATE TABLE workers (
    id TEXT COLLATE "C" NOT NULL,
    hostname TEXT NOT NULL,
    pid INTEGER NOT NULL,
    actions TEXT[] NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT workers_pkey PRIMARY KEY (id)
);
CREATE TABLE steps (
    id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    position SMALLINT NOT NULL,
    iteration INTEGER DEFAULT '0' NOT NULL,
    item INTEGER DEFAULT '0' NOT NULL,
    status TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority SMALLINT NOT NULL,
    label TEXT NOT NULL,
    attempt SMALLINT DEFAULT '0' NOT NULL,
    max_attempts SMALLINT NOT NULL,
    lost_leases SMALLINT DEFAULT '0' NOT NULL,
    fence TEXT,
    worker_id TEXT COLLATE "C",
    lease_expires_at TIMESTAMP WITH TIME ZONE,
    run_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    rung_at TIMESTAMP WITH TIME ZONE,
    wake_at TIMESTAMP WITH TIME ZONE,
    suspension JSONB,
    carry JSONB,
    result JSONB,
    error JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT steps_pkey PRIMARY KEY (id),
    CONSTRAINT steps_job_id_name_iteration_item_key UNIQUE (job_id, name, iteration, item),
    CONSTRAINT steps_status_check CHECK (status IN ('ready', 'running', 'suspended', 'succeeded', 'failed', 'cancelled')),
    CONSTRAINT steps_fence_check CHECK ((fence IS NOT NULL) = (status = 'running')),
    CONSTRAINT steps_job_id_fkey FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)
 WITH (fillfactor = 70);
CREATE INDEX steps_due_idx ON steps (queue, priority DESC, run_at, id) WHERE status = 'ready' AND rung_at IS NULL;
CREATE INDEX steps_lease_idx ON steps (lease_expires_at) WHERE status = 'running';
CREATE INDEX steps_run_at_idx ON steps (run_at) WHERE status = 'ready' AND rung_at IS NULL;
CREATE INDEX steps_rung_idx ON steps (queue, rung_at) WHERE status = 'ready' AND rung_at IS NOT NULL;
CREATE INDEX steps_wake_idx ON steps (wake_at) WHERE status = 'suspended';
CREATE TABLE step_notes (
    step_id TEXT COLLATE "C" NOT NULL,
    key TEXT NOT NULL,
    value JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT step_notes_pkey PRIMARY KEY (step_id, key),
    CONSTRAINT step_notes_step_id_fkey FOREIGN KEY(step_id) REFERENCES steps (id) ON DELETE CASCADE
);
"""


PARTITIONED = {"attempts": "att", "events": "evt"}


def upgrade() -> None:
    op.execute(TABLES)
    session = Session(op.get_bind(), join_transaction_mode="create_savepoint")
    for table, prefix in PARTITIONED.items():
        # The default partition is a safety net: an insert never fails for want of a partition.
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
        ensure_partitions(session, table, prefix, moment=datetime.now(UTC))
    session.commit()
