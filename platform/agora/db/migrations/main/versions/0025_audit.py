"""What main's transactions write for the audit log, until it is copied to auth."""

from alembic import op

revision = "0025"
down_revision = "0024"

# `agora.audit_before` is set for one transaction: by whoever has copied what goes, and by the erasure of a team.
OUTBOX = """
CREATE TABLE audit_outbox (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT COLLATE "C",
    actor_name TEXT NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    object_type TEXT NOT NULL,
    object_id TEXT COLLATE "C" NOT NULL,
    address TEXT,
    request_id TEXT,
    before JSONB NOT NULL,
    after JSONB NOT NULL,
    CONSTRAINT audit_outbox_pkey PRIMARY KEY (id),
    CONSTRAINT audit_outbox_actor_kind_check CHECK (
        actor_kind IN ('key', 'user', 'link', 'operator', 'system', 'anonymous')
    ),
    CONSTRAINT audit_outbox_action_check CHECK (action LIKE '%_._%'),
    CONSTRAINT audit_outbox_changes_check CHECK (
        jsonb_typeof(before) = 'object' AND jsonb_typeof(after) = 'object'
    )
);
CREATE FUNCTION agora_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' AND NULLIF(current_setting('agora.audit_before', true), '') = 'infinity' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only'
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$;
CREATE TRIGGER audit_outbox_append_only AFTER UPDATE OR DELETE ON audit_outbox
    FOR EACH ROW EXECUTE FUNCTION agora_audit_append_only();
CREATE TRIGGER audit_outbox_no_truncate BEFORE TRUNCATE ON audit_outbox
    FOR EACH STATEMENT EXECUTE FUNCTION agora_audit_append_only();
"""


def upgrade() -> None:
    op.execute(OUTBOX)
