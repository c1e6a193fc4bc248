"""Steps whose result a retry or a fork took over from another job."""

from alembic import op

revision = "0006"
down_revision = "0005"

COPIED = """
ALTER TABLE steps ADD COLUMN copied_from TEXT COLLATE "C";
ALTER TABLE steps DROP CONSTRAINT steps_status_check;
ALTER TABLE steps ADD CONSTRAINT steps_status_check
    CHECK (status IN ('ready', 'running', 'suspended', 'succeeded', 'copied', 'failed', 'cancelled'));
"""


def upgrade() -> None:
    op.execute(COPIED)
