"""The order of due steps: a place with ageing, steps held out of it, queues that can be paused."""

from alembic import op

revision = "0009"
down_revision = "0008"

CHANGES = """
CREATE TABLE queues (
    name TEXT NOT NULL,
    paused_at TIMESTAMP WITH TIME ZONE,
    reason TEXT DEFAULT '' NOT NULL,
    CONSTRAINT queues_pkey PRIMARY KEY (name)
);
ALTER TABLE steps ADD COLUMN held TEXT;
ALTER TABLE steps ADD COLUMN place TIMESTAMP WITHOUT TIME ZONE
    GENERATED ALWAYS AS ((run_at AT TIME ZONE 'UTC') - priority * interval '1 minute') STORED;
UPDATE steps SET held = 'time' WHERE status = 'ready' AND run_at > now();
ALTER TABLE steps ADD CONSTRAINT steps_held_check CHECK (held IN ('time', 'concurrency', 'rate', 'worker'));
DROP INDEX steps_due_idx;
DROP INDEX steps_run_at_idx;
CREATE INDEX steps_due_idx ON steps (queue, team_id, place, id)
    WHERE status = 'ready' AND rung_at IS NULL AND held IS NULL;
CREATE INDEX steps_time_idx ON steps (run_at) WHERE status = 'ready' AND held = 'time';
CREATE INDEX steps_worker_idx ON steps (queue) WHERE status = 'ready' AND held = 'worker';
CREATE VIEW due_steps AS
    SELECT id, queue, team_id, place FROM steps WHERE status = 'ready' AND rung_at IS NULL AND held IS NULL;
CREATE VIEW paused_queues AS SELECT name FROM queues WHERE paused_at IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(CHANGES)
