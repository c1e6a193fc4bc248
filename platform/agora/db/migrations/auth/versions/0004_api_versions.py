"""Keys are pinned to a dated version of the API; uses of what is deprecated are counted."""

from alembic import op

revision = "0004"
down_revision = "0003"

# Keys that there are were made against the first version. The default stays: a process of before may still make some.
KEYS = """
ALTER TABLE api_keys
    ADD COLUMN api_version TEXT DEFAULT '2026-11-23' NOT NULL,
    ADD CONSTRAINT api_keys_api_version_check CHECK (api_version ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$');
"""

USES = """
CREATE TABLE deprecated_uses (
    team_id TEXT COLLATE "C" NOT NULL,
    actor_id TEXT COLLATE "C" NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    uses BIGINT NOT NULL,
    first_used_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    last_used_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT deprecated_uses_pkey PRIMARY KEY (team_id, actor_id, feature),
    CONSTRAINT deprecated_uses_uses_check CHECK (uses > 0),
    CONSTRAINT deprecated_uses_team_id_fkey FOREIGN KEY(team_id) REFERENCES teams (id) ON DELETE CASCADE
);
"""


def upgrade() -> None:
    for statements in (KEYS, USES):
        op.execute(statements)
