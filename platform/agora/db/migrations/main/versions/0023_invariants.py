"""What ended stays as it ended, whoever writes; a few more rules that only the services knew."""

from alembic import op

revision = "0023"
down_revision = "0022"

# AFTER, so that no update takes a row lock of its own for it; WHEN, so that the function runs for what it refuses only.
ENDED = """
CREATE FUNCTION agora_refuse_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% % has ended as % and cannot become %', TG_TABLE_NAME, OLD.id, OLD.status, NEW.status
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$;
CREATE TRIGGER jobs_ended_stays AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (OLD.status IN ('succeeded', 'failed', 'cancelled') AND NEW.status <> OLD.status)
    EXECUTE FUNCTION agora_refuse_move();
CREATE TRIGGER steps_ended_stays AFTER UPDATE OF status ON steps FOR EACH ROW
    WHEN (OLD.status IN ('succeeded', 'copied', 'failed', 'cancelled') AND NEW.status <> OLD.status)
    EXECUTE FUNCTION agora_refuse_move();
"""

CHECKS = {
    "jobs": {"version": "version >= 1", "depth": "depth >= 0", "event_seq": "event_seq >= 0"},
    "steps": {"counts": "iteration >= 0 AND item >= 0 AND attempt >= 0 AND lost_leases >= 0 AND max_attempts >= 1"},
    "schedules": {"every": "every > 0", "failures": "failures >= 0"},
    "webhook_endpoints": {"event_types": "cardinality(event_types) >= 1", "url": "url <> ''"},
    "webhook_deliveries": {"attempt": "attempt >= 0 AND earlier_attempts >= 0"},
    "files": {"sha256": "sha256 ~ '^[0-9a-f]{64}$'"},
    "step_usage": {"spent": "tokens_in >= 0 AND tokens_out >= 0 AND cost_usd >= 0"},
}


def upgrade() -> None:
    op.execute(ENDED)
    for table, checks in CHECKS.items():
        for name, rule in checks.items():
            op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_{name}_check CHECK ({rule})")
