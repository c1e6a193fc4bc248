"""What jobs may spend, and when they must have begun."""

from alembic import op

revision = "0010"
down_revision = "0009"

TABLES = """
ALTER TABLE jobs ADD COLUMN budget JSONB, ADD COLUMN start_by TIMESTAMP WITH TIME ZONE;
CREATE INDEX jobs_start_by_idx ON jobs (start_by)
    WHERE start_by IS NOT NULL AND started_at IS NULL AND ended_at IS NULL;
"""


def upgrade() -> None:
    op.execute(TABLES)
