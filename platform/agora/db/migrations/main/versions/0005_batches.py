"""Batches, and where jobs come from: a batch, a schedule, a retry, a fork."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
CREATE TABLE batches (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C",
    size INTEGER NOT NULL,
    agents TEXT[] NOT NULL,
    metadata JSONB DEFAULT '{}' NOT NULL,
    counts JSONB,
    cancel_requested_at TIMESTAMP WITH TIME ZONE,
    cancel_reason TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT batches_pkey PRIMARY KEY (id),
    CONSTRAINT batches_size_check CHECK (size BETWEEN 1 AND 1000),
    CONSTRAINT batches_ended_check CHECK ((ended_at IS NULL) = (counts IS NULL))
);
CREATE INDEX batches_open_idx ON batches (id) WHERE ended_at IS NULL;
CREATE INDEX batches_team_id_idx ON batches (team_id, id DESC);
ALTER TABLE jobs
    ADD COLUMN forked_from TEXT COLLATE "C",
    ADD COLUMN batch_id TEXT COLLATE "C",
    ADD COLUMN schedule_id TEXT COLLATE "C";
CREATE INDEX jobs_batch_id_idx ON jobs (batch_id, status, id) WHERE batch_id IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(TABLES)
