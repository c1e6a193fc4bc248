"""Bulk actions, and an index for filters by metadata."""

from alembic import op

revision = "0012"
down_revision = "0011"

TABLES = """
CREATE TABLE bulk_actions (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C",
    action TEXT NOT NULL,
    filter JSONB NOT NULL,
    options JSONB NOT NULL,
    status TEXT DEFAULT 'running' NOT NULL,
    matched INTEGER NOT NULL,
    done INTEGER DEFAULT '0' NOT NULL,
    failed INTEGER DEFAULT '0' NOT NULL,
    after TEXT COLLATE "C" DEFAULT '' NOT NULL,
    leased_until TIMESTAMP WITH TIME ZONE,
    touched_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    cancel_requested_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT bulk_actions_pkey PRIMARY KEY (id),
    CONSTRAINT bulk_actions_action_check CHECK (action IN ('cancel', 'retry', 'fork')),
    CONSTRAINT bulk_actions_status_check CHECK (status IN ('running', 'completed', 'cancelled')),
    CONSTRAINT bulk_actions_ended_check CHECK ((ended_at IS NULL) = (status = 'running'))
);
CREATE INDEX bulk_actions_open_idx ON bulk_actions (touched_at) WHERE status = 'running';
CREATE INDEX bulk_actions_team_id_idx ON bulk_actions (team_id, id DESC);
CREATE TABLE bulk_items (
    bulk_id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    outcome TEXT NOT NULL,
    new_job_id TEXT COLLATE "C",
    error JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT bulk_items_pkey PRIMARY KEY (bulk_id, job_id),
    CONSTRAINT bulk_items_outcome_check CHECK (outcome IN ('done', 'failed')),
    CONSTRAINT bulk_items_error_check CHECK ((outcome = 'failed') = (error IS NOT NULL)),
    CONSTRAINT bulk_items_bulk_id_fkey FOREIGN KEY(bulk_id) REFERENCES bulk_actions (id) ON DELETE CASCADE
);
CREATE INDEX jobs_metadata_idx ON jobs USING gin (metadata jsonb_path_ops) WITH (fastupdate = off)
    WHERE metadata <> '{}';
"""


def upgrade() -> None:
    op.execute(TABLES)
