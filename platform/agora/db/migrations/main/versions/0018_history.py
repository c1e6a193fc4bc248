"""Lists by agent and by error code are found by an index, however much has ended.

The one over agents has entries of ended jobs, the one over errors of failed ones: so a submit pays nothing for them, and
the end of a job one entry. Open jobs are few beside ended ones, and found by their status.
"""

from alembic import op

revision = "0018"
down_revision = "0017"

INDEXES = """
CREATE INDEX jobs_team_agent_idx ON jobs (team_id, agent, status, id DESC) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_team_error_idx ON jobs (team_id, (error ->> 'code'), id DESC) WHERE error IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(INDEXES)
