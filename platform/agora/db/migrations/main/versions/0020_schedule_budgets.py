"""Schedules say what each of their jobs may spend."""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.execute("ALTER TABLE schedules ADD COLUMN budget jsonb")
