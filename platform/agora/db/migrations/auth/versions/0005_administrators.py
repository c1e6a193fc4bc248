"""Recovery codes, roles of the platform's administrators, sign-in by an OIDC provider, idempotency keys of teams."""

from alembic import op

revision = "0005"
down_revision = "0004"

RECOVERY_CODES = """
CREATE TABLE recovery_codes (
    user_id TEXT COLLATE "C" NOT NULL,
    hash BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT recovery_codes_pkey PRIMARY KEY (user_id, hash),
    CONSTRAINT recovery_codes_hash_check CHECK (octet_length(hash) = 32),
    CONSTRAINT recovery_codes_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
"""

# At the end of the transaction, so that the role can be handed over within one. A super administrator who is disabled
# is none. The lock lets one such change wait for the other, so that the last two cannot go at once.
SYSTEM_ROLES = """
CREATE TABLE system_roles (
    user_id TEXT COLLATE "C" NOT NULL,
    role TEXT NOT NULL,
    granted_by TEXT COLLATE "C",
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT system_roles_pkey PRIMARY KEY (user_id, role),
    CONSTRAINT system_roles_role_check CHECK (role IN ('super', 'billing', 'support', 'analytics')),
    CONSTRAINT system_roles_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE FUNCTION agora_keep_a_super() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(418430644594);
    IF TG_TABLE_NAME = 'users' THEN
        IF NOT EXISTS (SELECT FROM system_roles WHERE user_id = OLD.id AND role = 'super') THEN
            RETURN NULL;
        END IF;
    END IF;
    IF NOT EXISTS (
        SELECT FROM system_roles r JOIN users u ON u.id = r.user_id WHERE r.role = 'super' AND u.disabled_at IS NULL
    ) THEN
        RAISE EXCEPTION 'the platform must keep a super administrator'
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER system_roles_keep_a_super AFTER UPDATE OR DELETE ON system_roles
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.role = 'super') EXECUTE FUNCTION agora_keep_a_super();
CREATE CONSTRAINT TRIGGER users_keep_a_super AFTER UPDATE OF disabled_at ON users
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.disabled_at IS NULL AND NEW.disabled_at IS NOT NULL)
    EXECUTE FUNCTION agora_keep_a_super();
"""

OIDC = """
CREATE TABLE external_identities (
    id TEXT COLLATE "C" NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    email TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT external_identities_pkey PRIMARY KEY (id),
    CONSTRAINT external_identities_issuer_subject_key UNIQUE (issuer, subject),
    CONSTRAINT external_identities_subject_check CHECK (issuer <> '' AND subject <> ''),
    CONSTRAINT external_identities_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX external_identities_user_id_idx ON external_identities (user_id);
CREATE TABLE oidc_flows (
    state_hash BYTEA NOT NULL,
    browser_hash BYTEA NOT NULL,
    user_id TEXT COLLATE "C",
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT oidc_flows_pkey PRIMARY KEY (state_hash),
    CONSTRAINT oidc_flows_hashes_check CHECK (octet_length(state_hash) = 32 AND octet_length(browser_hash) = 32),
    CONSTRAINT oidc_flows_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX oidc_flows_expires_at_idx ON oidc_flows (expires_at);
"""

IDEMPOTENCY = """
CREATE TABLE idempotency_keys (
    team_id TEXT COLLATE "C" NOT NULL,
    key TEXT NOT NULL,
    route TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    resource_id TEXT COLLATE "C" NOT NULL,
    status SMALLINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (team_id, key, route)
);
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);
"""


def upgrade() -> None:
    for statements in (RECOVERY_CODES, SYSTEM_ROLES, OIDC, IDEMPOTENCY):
        op.execute(statements)
