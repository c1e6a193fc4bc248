"""Tiers: what a team may have, as data. Teams that there are have no limits, as before."""

from alembic import op

revision = "0006"
down_revision = "0005"

TIERS = """
CREATE TABLE tiers (
    name TEXT NOT NULL,
    projects BIGINT,
    members BIGINT,
    jobs_per_day BIGINT,
    requests_per_minute BIGINT,
    storage_bytes BIGINT,
    CONSTRAINT tiers_pkey PRIMARY KEY (name),
    CONSTRAINT tiers_name_check CHECK (name ~ '^[a-z][a-z0-9-]{0,39}$'),
    CONSTRAINT tiers_amounts_check CHECK (least(projects, members, jobs_per_day, storage_bytes) >= 0),
    CONSTRAINT tiers_requests_per_minute_check CHECK (requests_per_minute BETWEEN 1 AND 10000000)
);
INSERT INTO tiers (name, projects, members, jobs_per_day, requests_per_minute, storage_bytes) VALUES
    ('free', 3, 3, 100, 60, 1073741824),
    ('pro', 50, 10, 5000, 600, 53687091200),
    ('team', 500, 100, 50000, 3000, 536870912000),
    ('enterprise', NULL, NULL, NULL, NULL, NULL);
"""

# A default that is constant rewrites no row. Overrides: names of quotas with a number, or null for no limit.
TEAMS = """
ALTER TABLE teams
    ADD COLUMN tier TEXT DEFAULT 'enterprise' NOT NULL,
    ADD COLUMN quotas JSONB DEFAULT '{}' NOT NULL,
    ADD CONSTRAINT teams_tier_fkey FOREIGN KEY(tier) REFERENCES tiers (name),
    ADD CONSTRAINT teams_quotas_check CHECK (
        jsonb_typeof(quotas) = 'object'
        AND quotas - ARRAY['projects', 'members', 'jobs_per_day', 'requests_per_minute', 'storage_bytes'] = '{}'
        AND NOT jsonb_path_exists(quotas, '$.* ? (@.type() != "null" && @.type() != "number")')
        AND NOT jsonb_path_exists(quotas, '$.* ? (@ < 0 || @ != @.floor())')
        AND NOT jsonb_path_exists(quotas, '$.requests_per_minute ? (@ < 1 || @ > 10000000)')
    );
ALTER TABLE api_keys
    ADD COLUMN requests_per_minute BIGINT,
    ADD CONSTRAINT api_keys_requests_per_minute_check CHECK (requests_per_minute BETWEEN 1 AND 10000000);
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(TIERS)
    op.execute(TEAMS)
