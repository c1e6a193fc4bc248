"""Webhook endpoints choose events by the metadata of their jobs; put-off fan-outs are expanded in their order."""

from alembic import op

revision = "0022"
down_revision = "0021"

ENDPOINTS = """
ALTER TABLE webhook_endpoints
    ADD COLUMN metadata_filter JSONB DEFAULT '{}' NOT NULL,
    ADD CONSTRAINT webhook_endpoints_metadata_filter_check CHECK (jsonb_typeof(metadata_filter) = 'object');
"""

# Ids tell the order of beginnings; what keeps an order needs that of the transactions of a job.
FAN_OUTS = """
ALTER TABLE webhook_fan_outs ADD COLUMN number BIGINT GENERATED ALWAYS AS IDENTITY;
CREATE INDEX webhook_fan_outs_team_id_idx ON webhook_fan_outs (team_id, number);
"""


def upgrade() -> None:
    op.execute(ENDPOINTS)
    op.execute(FAN_OUTS)
