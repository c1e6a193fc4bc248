"""Erasures of teams."""

from alembic import op

revision = "0017"
down_revision = "0016"

TABLE = """
CREATE TABLE erasures (
    subject TEXT NOT NULL,
    team_name TEXT,
    removed JSONB DEFAULT '{}' NOT NULL,
    began_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT erasures_pkey PRIMARY KEY (subject),
    CONSTRAINT erasures_finished_check CHECK ((team_name IS NULL) = (finished_at IS NOT NULL))
);
"""


def upgrade() -> None:
    op.execute(TABLE)
