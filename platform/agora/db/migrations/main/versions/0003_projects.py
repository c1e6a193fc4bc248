"""Projects, sessions, specifications, conflicts."""

from alembic import op

revision = "0003"
down_revision = "0002"
TABLES = """
CREATE TABLE projects (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    status TEXT DEFAULT 'active' NOT NULL,
    phase TEXT DEFAULT 'discovery' NOT NULL,
    origin TEXT NOT NULL,
    maturity FLOAT DEFAULT '0' NOT NULL,
    coverage FLOAT DEFAULT '0' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_status_check CHECK (status IN ('active', 'completed', 'archived')),
    CONSTRAINT projects_phase_check CHECK (phase IN ('discovery', 'analysis', 'design', 'implementation'))
);
CREATE UNIQUE INDEX projects_origin_key ON projects (team_id, origin);
CREATE INDEX projects_team_id_idx ON projects (team_id, id DESC);
CREATE TABLE conflicts (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    severity TEXT NOT NULL,
    status TEXT DEFAULT 'open' NOT NULL,
    left_statement JSONB NOT NULL,
    right_statement JSONB NOT NULL,
    explanation TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT conflicts_pkey PRIMARY KEY (id),
    CONSTRAINT conflicts_status_check CHECK (status IN ('open', 'resolved', 'ignored')),
    CONSTRAINT conflicts_severity_check CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    CONSTRAINT conflicts_project_id_fkey FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE
);
CREATE INDEX conflicts_project_id_idx ON conflicts (project_id, status);
CREATE TABLE sessions (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    status TEXT DEFAULT 'active' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_status_check CHECK (status IN ('active', 'paused', 'completed')),
    CONSTRAINT sessions_project_id_fkey FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE
);
CREATE INDEX sessions_project_id_idx ON sessions (project_id);
CREATE TABLE specifications (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    session_id TEXT COLLATE "C" NOT NULL,
    category TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    content TEXT NOT NULL,
    confidence FLOAT NOT NULL,
    reasoning TEXT NOT NULL,
    analyst TEXT NOT NULL,
    source JSONB NOT NULL,
    status TEXT DEFAULT 'draft' NOT NULL,
    current BOOLEAN DEFAULT true NOT NULL,
    superseded_by TEXT COLLATE "C",
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT specifications_pkey PRIMARY KEY (id),
    CONSTRAINT specifications_status_check CHECK (status IN ('draft', 'approved', 'implemented', 'superseded', 'rejected')),
    CONSTRAINT specifications_confidence_check CHECK (confidence BETWEEN 0 AND 1),
    CONSTRAINT specifications_current_check CHECK (current = (status NOT IN ('superseded', 'rejected'))),
    CONSTRAINT specifications_project_id_fkey FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE,
    CONSTRAINT specifications_session_id_fkey FOREIGN KEY(session_id) REFERENCES sessions (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX specifications_current_key ON specifications (project_id, category, key) WHERE current;
CREATE INDEX specifications_session_id_idx ON specifications (session_id);
"""


def upgrade() -> None:
    op.execute(TABLES)
