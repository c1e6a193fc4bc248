"""Schedules and what became of their fire times."""

from alembic import op

revision = "0011"
down_revision = "0010"

TABLES = """
CREATE TABLE schedules (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C",
    name TEXT NOT NULL,
    agent TEXT NOT NULL,
    action TEXT NOT NULL,
    version INTEGER,
    input JSONB NOT NULL,
    priority SMALLINT DEFAULT '5' NOT NULL,
    metadata JSONB DEFAULT '{}' NOT NULL,
    cron TEXT,
    timezone TEXT DEFAULT 'UTC' NOT NULL,
    every DOUBLE PRECISION,
    at TIMESTAMP WITH TIME ZONE,
    ends_at TIMESTAMP WITH TIME ZONE,
    catch_up TEXT DEFAULT 'one' NOT NULL,
    paused_at TIMESTAMP WITH TIME ZONE,
    next_fire_at TIMESTAMP WITH TIME ZONE,
    last_fire_at TIMESTAMP WITH TIME ZONE,
    failures INTEGER DEFAULT '0' NOT NULL,
    last_error JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT schedules_pkey PRIMARY KEY (id),
    CONSTRAINT schedules_team_id_name_key UNIQUE (team_id, name),
    CONSTRAINT schedules_kind_check CHECK (num_nonnulls(cron, every, at) = 1),
    CONSTRAINT schedules_catch_up_check CHECK (catch_up IN ('skip', 'one', 'all')),
    CONSTRAINT schedules_priority_check CHECK (priority BETWEEN 0 AND 9),
    CONSTRAINT schedules_paused_check CHECK (paused_at IS NULL OR next_fire_at IS NULL)
);
CREATE INDEX schedules_due_idx ON schedules (next_fire_at) WHERE next_fire_at IS NOT NULL;
CREATE INDEX schedules_input_ref_idx ON schedules ((input ->> 'ref')) WHERE input ? 'ref';
CREATE INDEX schedules_team_id_idx ON schedules (team_id, id DESC);
CREATE TABLE schedule_runs (
    schedule_id TEXT COLLATE "C" NOT NULL,
    fire_at TIMESTAMP WITH TIME ZONE NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    outcome TEXT NOT NULL,
    manual BOOLEAN DEFAULT false NOT NULL,
    job_id TEXT COLLATE "C",
    error JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT schedule_runs_pkey PRIMARY KEY (schedule_id, fire_at),
    CONSTRAINT schedule_runs_outcome_check CHECK (outcome IN ('fired', 'failed', 'missed')),
    CONSTRAINT schedule_runs_job_check CHECK ((outcome = 'fired') = (job_id IS NOT NULL)),
    CONSTRAINT schedule_runs_schedule_id_fkey FOREIGN KEY(schedule_id) REFERENCES schedules (id) ON DELETE CASCADE
);
CREATE INDEX schedule_runs_created_at_idx ON schedule_runs (created_at);
CREATE INDEX jobs_schedule_id_idx ON jobs (schedule_id, id) WHERE schedule_id IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(TABLES)
