"""A job knows the request that made it, as logs and the audit log name it."""

from alembic import op

revision = "0027"
down_revision = "0026"

# Rows that there are have NULL, which the check allows: to look at each of them would hold up everybody, as the table is
# locked meanwhile. Postgres checks whatever is written from now on.
REQUEST = """
ALTER TABLE jobs ADD COLUMN request_id text;
ALTER TABLE jobs ADD CONSTRAINT jobs_request_id_check CHECK (char_length(request_id) BETWEEN 1 AND 100) NOT VALID;
"""


def upgrade() -> None:
    op.execute(REQUEST)
