"""A job knows the request that made it, as logs and the audit log name it."""

from alembic import op

revision = "0027"
down_revision = "0026"

REQUEST = """
ALTER TABLE jobs ADD COLUMN request_id text
    CONSTRAINT jobs_request_id_check CHECK (char_length(request_id) BETWEEN 1 AND 100)
"""


def upgrade() -> None:
    op.execute(REQUEST)
