"""When a key was rotated, and until when it was to live: another rotation hands that on, and not the overlap's end."""

from alembic import op

revision = "0007"
down_revision = "0006"

KEYS = """
ALTER TABLE api_keys
    ADD COLUMN rotated_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN meant_until TIMESTAMP WITH TIME ZONE,
    ADD CONSTRAINT api_keys_rotated_check CHECK (
        CASE WHEN rotated_at IS NULL THEN meant_until IS NULL
        ELSE expires_at IS NOT NULL AND (meant_until IS NULL OR meant_until >= expires_at) END
    );
"""


def upgrade() -> None:
    """Add the columns."""
    op.execute(KEYS)
