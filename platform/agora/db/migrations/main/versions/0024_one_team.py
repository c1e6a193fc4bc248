"""What belongs to something belongs to the same team, also when SQL writes it directly.

Steps and deliveries rely on the engines' word: a key over (id, team_id) would be one more index to write for each job
and each claim of an endpoint. A webhook key, which is rarely made, is checked by a trigger for the same reason.
"""

from alembic import op

revision = "0024"
down_revision = "0023"

PARENTS = {
    "projects": "id, team_id",
    "sessions": "id, project_id",
    "schedules": "id, team_id",
    "bulk_actions": "id, team_id",
}
CHILDREN = [
    ("sessions", "project_id", "team_id", "projects"),
    ("specifications", "project_id", "team_id", "projects"),
    ("specifications", "session_id", "project_id", "sessions"),
    ("conflicts", "project_id", "team_id", "projects"),
    ("schedule_runs", "schedule_id", "team_id", "schedules"),
    ("bulk_items", "bulk_id", "team_id", "bulk_actions"),
]
KEYS = """
CREATE FUNCTION agora_key_is_of_its_team() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM webhook_endpoints WHERE id = NEW.endpoint_id AND team_id = NEW.team_id) THEN
        RAISE EXCEPTION 'team % has no endpoint %', NEW.team_id, NEW.endpoint_id
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER webhook_keys_one_team AFTER INSERT OR UPDATE OF endpoint_id, team_id ON webhook_keys FOR EACH ROW
    WHEN (NEW.endpoint_id IS NOT NULL) EXECUTE FUNCTION agora_key_is_of_its_team();
"""


def upgrade() -> None:
    for table, columns in PARENTS.items():
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_{columns.replace(', ', '_')}_key UNIQUE ({columns})")
    for table, column, owner, parent in CHILDREN:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_fkey")
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_{column}_{owner}_fkey FOREIGN KEY ({column}, {owner})"
            f" REFERENCES {parent} ({PARENTS[parent]}) ON DELETE CASCADE"
        )
    op.execute(KEYS)
