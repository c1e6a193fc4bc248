"""Fan-outs and child jobs: items of map steps, parents, and indexes for what is still open of them."""

from alembic import op

revision = "0007"
down_revision = "0006"

CHANGES = """
ALTER TABLE steps ADD COLUMN value JSONB;
ALTER TABLE jobs ADD COLUMN parent_step_id TEXT COLLATE "C";
ALTER TABLE jobs ADD COLUMN child_index INTEGER;
ALTER TABLE jobs ADD COLUMN depth SMALLINT DEFAULT '0' NOT NULL;
CREATE INDEX steps_open_items_idx ON steps (job_id, name, iteration) WHERE item > 0 AND status IN ('ready', 'running');
CREATE INDEX steps_failed_items_idx ON steps (job_id, name, iteration) WHERE item > 0 AND status = 'failed';
CREATE INDEX steps_parts_idx ON steps (id)
    WHERE item = 0 AND status = 'suspended' AND (suspension ->> 'kind') IN ('items', 'children');
CREATE INDEX jobs_parent_id_idx ON jobs (parent_id, id DESC) WHERE parent_id IS NOT NULL;
CREATE INDEX jobs_parent_step_idx ON jobs (parent_step_id, status) WHERE parent_step_id IS NOT NULL;
CREATE INDEX jobs_cancel_idx ON jobs (cancel_requested_at) WHERE cancel_requested_at IS NOT NULL AND ended_at IS NULL;
"""


def upgrade() -> None:
    op.execute(CHANGES)
