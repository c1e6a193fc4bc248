"""The audit log, its chains, and who made a key."""

from alembic import op

revision = "0003"
down_revision = "0002"

# `agora.audit_before` is set for one transaction by retention (a moment) and by the erasure of a team ('infinity').
GUARDS = """
CREATE FUNCTION agora_audit_may_go(moment TIMESTAMP WITH TIME ZONE) RETURNS boolean LANGUAGE sql AS $$
    SELECT COALESCE(moment < NULLIF(current_setting('agora.audit_before', true), '')::timestamptz, false)
$$;
CREATE FUNCTION agora_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF agora_audit_may_go(OLD.at) THEN RETURN NULL; END IF;
    ELSIF OLD.seq IS NULL AND NEW.seq IS NOT NULL
          AND to_jsonb(NEW) - 'seq' - 'hash' = to_jsonb(OLD) - 'seq' - 'hash' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only: entry % stays as it is', OLD.id
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$;
CREATE FUNCTION agora_audit_no_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF agora_audit_may_go('2999-01-01T00:00:00Z') THEN RETURN NULL; END IF;
    RAISE EXCEPTION 'the audit log is append-only'
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$;
CREATE FUNCTION agora_audit_head_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF agora_audit_may_go('2999-01-01T00:00:00Z') THEN RETURN NULL; END IF;
    ELSIF NEW.team_id = OLD.team_id AND NEW.seq >= OLD.seq AND NEW.anchor_seq >= OLD.anchor_seq
          AND (NEW.seq > OLD.seq OR NEW.hash = OLD.hash)
          AND (NEW.anchor_seq > OLD.anchor_seq OR NEW.anchor_hash = OLD.anchor_hash) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the head of an audit chain only moves on'
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$;
"""

TABLES = """
CREATE TABLE audit_entries (
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
    seq BIGINT,
    hash BYTEA,
    CONSTRAINT audit_entries_pkey PRIMARY KEY (id),
    CONSTRAINT audit_entries_actor_kind_check CHECK (
        actor_kind IN ('key', 'user', 'link', 'operator', 'system', 'anonymous')
    ),
    CONSTRAINT audit_entries_action_check CHECK (action LIKE '%_._%'),
    CONSTRAINT audit_entries_changes_check CHECK (
        jsonb_typeof(before) = 'object' AND jsonb_typeof(after) = 'object'
    ),
    CONSTRAINT audit_entries_chained_check CHECK (
        num_nulls(seq, hash) IN (0, 2) AND seq >= 1 AND octet_length(hash) = 32
    )
);
CREATE UNIQUE INDEX audit_entries_team_id_seq_key ON audit_entries (team_id, seq);
CREATE INDEX audit_entries_team_id_idx ON audit_entries (team_id, id DESC);
CREATE INDEX audit_entries_actor_idx ON audit_entries (team_id, actor_id, id DESC);
CREATE INDEX audit_entries_object_idx ON audit_entries (team_id, object_id, id DESC);
CREATE INDEX audit_entries_unchained_idx ON audit_entries (team_id, id) WHERE seq IS NULL;
CREATE TABLE audit_heads (
    team_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    anchor_seq BIGINT NOT NULL,
    anchor_hash BYTEA NOT NULL,
    CONSTRAINT audit_heads_pkey PRIMARY KEY (team_id),
    CONSTRAINT audit_heads_seq_check CHECK (seq >= anchor_seq AND anchor_seq >= 0),
    CONSTRAINT audit_heads_hash_check CHECK (octet_length(hash) = 32 AND octet_length(anchor_hash) = 32)
);
CREATE TRIGGER audit_entries_append_only AFTER UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION agora_audit_append_only();
CREATE TRIGGER audit_entries_no_truncate BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION agora_audit_no_truncate();
CREATE TRIGGER audit_heads_forward AFTER UPDATE OR DELETE ON audit_heads
    FOR EACH ROW EXECUTE FUNCTION agora_audit_head_forward();
CREATE TRIGGER audit_heads_no_truncate BEFORE TRUNCATE ON audit_heads
    FOR EACH STATEMENT EXECUTE FUNCTION agora_audit_no_truncate();
"""

KEYS = """
ALTER TABLE api_keys
    ADD COLUMN created_by TEXT COLLATE "C",
    ADD CONSTRAINT api_keys_created_by_check CHECK (created_by ~ '^(usr|key)_');
"""


def upgrade() -> None:
    for statements in (GUARDS, TABLES, KEYS):
        op.execute(statements)
