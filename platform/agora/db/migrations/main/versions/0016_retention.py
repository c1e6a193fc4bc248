"""Legal holds, what retention removed, and stored values that may have nobody left."""

from alembic import op

revision = "0016"
down_revision = "0015"

TABLES = """
CREATE TABLE holds (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    metadata JSONB NOT NULL,
    created_by TEXT COLLATE "C",
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    released_by TEXT COLLATE "C",
    released_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT holds_pkey PRIMARY KEY (id),
    CONSTRAINT holds_metadata_check CHECK (metadata <> '{}'::jsonb)
);
CREATE INDEX holds_team_id_idx ON holds (team_id, id DESC);
CREATE INDEX holds_active_idx ON holds (team_id) WHERE released_at IS NULL;
CREATE TABLE removals (
    kind TEXT NOT NULL,
    removed BIGINT NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT removals_pkey PRIMARY KEY (kind)
);
CREATE TABLE leftovers (
    location TEXT NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    noted_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    trashed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT leftovers_pkey PRIMARY KEY (location)
);
CREATE INDEX leftovers_noted_at_idx ON leftovers (noted_at);
CREATE INDEX leftovers_team_id_idx ON leftovers (team_id);
CREATE INDEX jobs_input_ref_idx ON jobs ((input ->> 'ref')) WHERE input ? 'ref';
CREATE INDEX jobs_output_ref_idx ON jobs ((output ->> 'ref')) WHERE output ? 'ref';
CREATE INDEX jobs_partial_output_ref_idx ON jobs ((partial_output ->> 'ref')) WHERE partial_output ? 'ref';
CREATE INDEX steps_carry_ref_idx ON steps ((carry ->> 'ref')) WHERE carry ? 'ref';
CREATE INDEX steps_result_ref_idx ON steps ((result ->> 'ref')) WHERE result ? 'ref';
CREATE INDEX steps_value_ref_idx ON steps ((value ->> 'ref')) WHERE value ? 'ref';
CREATE INDEX step_notes_value_ref_idx ON step_notes ((value ->> 'ref')) WHERE value ? 'ref';
"""


def upgrade() -> None:
    op.execute(TABLES)
