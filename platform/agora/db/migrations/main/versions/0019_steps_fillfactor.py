"""Pages of steps are filled: no update of a step is HOT, since its status is in the conditions of partial indexes.

So the room that was kept for new versions was no use, and a fifth of the table (docs/scaling.md has the figures).
"""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.execute("ALTER TABLE steps RESET (fillfactor)")
