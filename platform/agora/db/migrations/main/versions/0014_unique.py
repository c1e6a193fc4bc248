"""Keys of unique and debounced jobs: the job that each stands for."""

from alembic import op

revision = "0014"
down_revision = "0013"

CHANGES = """
CREATE TABLE unique_keys (
    team_id TEXT COLLATE "C" NOT NULL,
    agent TEXT NOT NULL,
    action TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    taken_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT unique_keys_pkey PRIMARY KEY (team_id, agent, action, kind, key)
);
CREATE INDEX unique_keys_taken_at_idx ON unique_keys (taken_at);
"""


def upgrade() -> None:
    op.execute(CHANGES)
