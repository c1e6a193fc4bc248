"""Held steps are found and counted by queue and reason."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.execute("DROP INDEX steps_worker_idx")
    op.execute("CREATE INDEX steps_held_idx ON steps (queue, held) WHERE status = 'ready' AND held IS NOT NULL")
