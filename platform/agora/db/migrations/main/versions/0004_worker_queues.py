"""Workers say which queues they listen to."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("ALTER TABLE workers ADD COLUMN queues TEXT[] DEFAULT '{}' NOT NULL")
