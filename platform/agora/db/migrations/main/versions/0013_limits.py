"""Limits on how many jobs run and how fast they start, and the permits of jobs that limits concern."""

from alembic import op

revision = "0013"
down_revision = "0012"

CHANGES = """
CREATE TABLE limits (
    scope TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C",
    agent TEXT,
    action TEXT,
    key TEXT,
    max_running INTEGER,
    rate DOUBLE PRECISION,
    burst INTEGER,
    tokens DOUBLE PRECISION DEFAULT 0 NOT NULL,
    counted_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    next_at TIMESTAMP WITH TIME ZONE,
    removed BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT limits_pkey PRIMARY KEY (scope),
    CONSTRAINT limits_max_running_check CHECK (max_running >= 0),
    CONSTRAINT limits_rate_check CHECK (rate > 0 AND burst >= 1)
);
CREATE INDEX limits_next_at_idx ON limits (next_at) WHERE next_at IS NOT NULL;
CREATE TABLE permits (
    job_id TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    place TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    state TEXT NOT NULL,
    since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT permits_pkey PRIMARY KEY (scope, job_id),
    CONSTRAINT permits_state_check CHECK (state IN ('idle', 'waiting', 'held')),
    CONSTRAINT permits_job_id_fkey FOREIGN KEY (job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE INDEX permits_job_idx ON permits (job_id);
CREATE INDEX permits_line_idx ON permits (scope, team_id, place, job_id) WHERE state = 'waiting';
CREATE INDEX permits_held_idx ON permits (scope, team_id) WHERE state = 'held';
ALTER TABLE jobs ADD COLUMN limited BOOLEAN DEFAULT false NOT NULL;
ALTER TABLE jobs ADD COLUMN concurrency_key TEXT;
"""


def upgrade() -> None:
    op.execute(CHANGES)
