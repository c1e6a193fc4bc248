"""Projects are shared with other teams, by the team that they belong to and no other."""

from alembic import op

revision = "0026"
down_revision = "0025"

SHARES = """
CREATE TABLE project_shares (
    project_id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    with_team_id TEXT COLLATE "C" NOT NULL,
    access TEXT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT project_shares_pkey PRIMARY KEY (project_id, with_team_id),
    CONSTRAINT project_shares_access_check CHECK (access IN ('read', 'write')),
    CONSTRAINT project_shares_other_check CHECK (with_team_id <> team_id),
    CONSTRAINT project_shares_project_id_team_id_fkey FOREIGN KEY(project_id, team_id)
        REFERENCES projects (id, team_id) ON DELETE CASCADE
);
CREATE INDEX project_shares_team_id_idx ON project_shares (team_id);
CREATE INDEX project_shares_with_team_id_idx ON project_shares (with_team_id, project_id DESC);
"""


def upgrade() -> None:
    op.execute(SHARES)
