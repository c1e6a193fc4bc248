"""Users, their sessions and tokens, memberships; a team has a handle where a command names it."""

from alembic import op

revision = "0002"
down_revision = "0001"

USERS = """
CREATE TABLE users (
    id TEXT COLLATE "C" NOT NULL,
    email TEXT NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    password_hash TEXT NOT NULL,
    password_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    verified_at TIMESTAMP WITH TIME ZONE,
    disabled_at TIMESTAMP WITH TIME ZONE,
    totp_sealed TEXT,
    totp_since TIMESTAMP WITH TIME ZONE,
    totp_used BIGINT DEFAULT '0' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_email_key UNIQUE (email),
    CONSTRAINT users_email_check CHECK (email = lower(email) AND email LIKE '%_@_%'),
    CONSTRAINT users_totp_check CHECK (totp_since IS NULL OR totp_sealed IS NOT NULL),
    CONSTRAINT users_password_hash_check CHECK (password_hash LIKE '$argon2id$%')
);
"""

TEAMS = """
ALTER TABLE teams
    ADD COLUMN handle TEXT,
    ADD COLUMN personal_of TEXT COLLATE "C",
    ADD CONSTRAINT teams_handle_key UNIQUE (handle),
    ADD CONSTRAINT teams_name_check CHECK (name <> ''),
    ADD CONSTRAINT teams_personal_of_fkey FOREIGN KEY(personal_of) REFERENCES users (id) ON DELETE CASCADE;
UPDATE teams SET handle = name;
ALTER TABLE teams DROP CONSTRAINT teams_name_key;
CREATE UNIQUE INDEX teams_personal_of_idx ON teams (personal_of) WHERE personal_of IS NOT NULL;
ALTER TABLE api_keys
    ADD CONSTRAINT api_keys_hash_check CHECK (octet_length(hash) = 32),
    ADD CONSTRAINT api_keys_scopes_check CHECK (cardinality(scopes) >= 1);
"""

# At the end of the transaction, so that ownership can be handed over within one; a team that is deleted takes its
# members with it.
MEMBERS = """
CREATE TABLE members (
    team_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    role TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT members_pkey PRIMARY KEY (team_id, user_id),
    CONSTRAINT members_role_check CHECK (role IN ('owner', 'lead', 'developer', 'viewer')),
    CONSTRAINT members_team_id_fkey FOREIGN KEY(team_id) REFERENCES teams (id) ON DELETE CASCADE,
    CONSTRAINT members_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX members_user_id_idx ON members (user_id);
CREATE FUNCTION agora_keep_an_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- One change of a team's owners waits for the other, so that the last two cannot leave at once.
    PERFORM FROM teams WHERE id = OLD.team_id FOR NO KEY UPDATE;
    IF FOUND AND NOT EXISTS (SELECT FROM members WHERE team_id = OLD.team_id AND role = 'owner') THEN
        RAISE EXCEPTION 'team % must keep an owner', OLD.team_id
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER members_keep_an_owner AFTER UPDATE OR DELETE ON members
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.role = 'owner') EXECUTE FUNCTION agora_keep_an_owner();
"""

SESSIONS = """
CREATE TABLE sessions (
    id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    refresh_hash BYTEA NOT NULL,
    second_factor BOOLEAN DEFAULT false NOT NULL,
    address TEXT NOT NULL,
    user_agent TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    revoked_why TEXT,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_refresh_hash_key UNIQUE (refresh_hash),
    CONSTRAINT sessions_refresh_hash_check CHECK (octet_length(refresh_hash) = 32),
    CONSTRAINT sessions_expires_at_check CHECK (expires_at > created_at),
    CONSTRAINT sessions_revoked_check CHECK ((revoked_at IS NULL) = (revoked_why IS NULL)),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX sessions_user_id_idx ON sessions (user_id, id DESC);
CREATE TABLE spent_tokens (
    hash BYTEA NOT NULL,
    session_id TEXT COLLATE "C" NOT NULL,
    spent_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT spent_tokens_pkey PRIMARY KEY (hash),
    CONSTRAINT spent_tokens_session_id_fkey FOREIGN KEY(session_id) REFERENCES sessions (id) ON DELETE CASCADE
);
CREATE INDEX spent_tokens_session_id_idx ON spent_tokens (session_id);
CREATE TABLE one_time_tokens (
    id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    purpose TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT one_time_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT one_time_tokens_purpose_check CHECK (purpose IN ('verify', 'reset')),
    CONSTRAINT one_time_tokens_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX one_time_tokens_user_id_idx ON one_time_tokens (user_id);
CREATE TABLE mails (
    id TEXT COLLATE "C" NOT NULL,
    sealed TEXT NOT NULL,
    tries SMALLINT DEFAULT '0' NOT NULL,
    next_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT mails_pkey PRIMARY KEY (id),
    CONSTRAINT mails_tries_check CHECK (tries >= 0)
);
CREATE INDEX mails_next_at_idx ON mails (next_at);
CREATE TABLE signing_keys (
    id TEXT COLLATE "C" NOT NULL,
    sealed TEXT NOT NULL,
    public JSONB NOT NULL,
    signs_from TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT signing_keys_pkey PRIMARY KEY (id),
    CONSTRAINT signing_keys_public_check CHECK (jsonb_typeof(public) = 'object' AND NOT public ? 'd')
);
"""

INVITATIONS = """
CREATE TABLE invitations (
    id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    email TEXT NOT NULL,
    role TEXT NOT NULL,
    invited_by TEXT COLLATE "C" NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    accepted_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT invitations_pkey PRIMARY KEY (id),
    CONSTRAINT invitations_role_check CHECK (role IN ('owner', 'lead', 'developer', 'viewer')),
    CONSTRAINT invitations_email_check CHECK (email = lower(email)),
    CONSTRAINT invitations_ended_check CHECK (num_nonnulls(accepted_at, revoked_at) <= 1),
    CONSTRAINT invitations_team_id_fkey FOREIGN KEY(team_id) REFERENCES teams (id) ON DELETE CASCADE
);
CREATE INDEX invitations_team_id_idx ON invitations (team_id, id DESC);
CREATE UNIQUE INDEX invitations_open_idx ON invitations (team_id, email)
    WHERE accepted_at IS NULL AND revoked_at IS NULL;
"""


def upgrade() -> None:
    for statements in (USERS, TEAMS, MEMBERS, SESSIONS, INVITATIONS):
        op.execute(statements)
