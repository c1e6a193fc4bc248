"""What steps spend, and the output of a job so far."""

from alembic import op

revision = "0008"
down_revision = "0007"

TABLES = """
ALTER TABLE jobs ADD COLUMN partial_output JSONB;
CREATE TABLE step_usage (
    step_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    attempt SMALLINT NOT NULL,
    key TEXT,
    model TEXT NOT NULL,
    tokens_in BIGINT NOT NULL,
    tokens_out BIGINT NOT NULL,
    cost_usd NUMERIC NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT step_usage_pkey PRIMARY KEY (step_id, id),
    CONSTRAINT step_usage_step_id_fkey FOREIGN KEY(step_id) REFERENCES steps (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX step_usage_key_idx ON step_usage (step_id, key) WHERE key IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(TABLES)
