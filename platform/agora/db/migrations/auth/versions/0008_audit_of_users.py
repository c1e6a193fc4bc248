"""Entries about a user, until they are written into the log of each of their teams."""

from alembic import op

revision = "0008"
down_revision = "0007"

# As in main: `agora.audit_before` is set for one transaction by whoever has written what goes.
OF_USERS = """
CREATE TABLE audit_of_users (
    id TEXT COLLATE "C" NOT NULL,
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
    CONSTRAINT audit_of_users_pkey PRIMARY KEY (id),
    CONSTRAINT audit_of_users_actor_kind_check CHECK (
        actor_kind IN ('key', 'user', 'link', 'operator', 'system', 'anonymous')
    ),
    CONSTRAINT audit_of_users_action_check CHECK (action LIKE '%_._%'),
    CONSTRAINT audit_of_users_changes_check CHECK (
        jsonb_typeof(before) = 'object' AND jsonb_typeof(after) = 'object'
    )
);
CREATE FUNCTION agora_audit_of_users_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' AND NULLIF(current_setting('agora.audit_before', true), '') = 'infinity' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only'
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$;
CREATE TRIGGER audit_of_users_append_only AFTER UPDATE OR DELETE ON audit_of_users
    FOR EACH ROW EXECUTE FUNCTION agora_audit_of_users_append_only();
CREATE TRIGGER audit_of_users_no_truncate BEFORE TRUNCATE ON audit_of_users
    FOR EACH STATEMENT EXECUTE FUNCTION agora_audit_of_users_append_only();
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(OF_USERS)
