"""Tables of the auth database."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from agora.api_versions import OLDEST
from agora.db.types import AuthBase, Id, IdText, TimestampTZ
from agora.identity.roles import Purpose, Role, SystemRole
from agora.quotas.models import TierRow
from agora.settings import get_settings

NOW = text("now()")


def _listed(values: Any) -> str:
    return ", ".join(f"'{value}'" for value in values)


class TeamRow(AuthBase):
    """A team: the tenant. Everything in the main database belongs to one.

    ``handle`` finds one that a command or a setting names. ``personal_of``: the user whose own it is. ``quotas``: what
    it may have of other than its tier says, by name; null for no limit.
    """

    __tablename__ = "teams"
    __table_args__ = (
        CheckConstraint("name <> ''", name="name"),
        CheckConstraint(
            "jsonb_typeof(quotas) = 'object' AND quotas - ARRAY['projects', 'members', 'jobs_per_day',"
            " 'requests_per_minute', 'storage_bytes'] = '{}'"
            """ AND NOT jsonb_path_exists(quotas, '$.* ? (@.type() != "null" && @.type() != "number")')"""
            " AND NOT jsonb_path_exists(quotas, '$.* ? (@ < 0 || @ != @.floor())')"
            " AND NOT jsonb_path_exists(quotas, '$.requests_per_minute ? (@ < 1 || @ > 10000000)')",
            name="quotas",
        ),
        Index("teams_personal_of_idx", "personal_of", unique=True, postgresql_where=text("personal_of IS NOT NULL")),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    handle: Mapped[str | None] = mapped_column(Text, unique=True)
    personal_of: Mapped[Id | None] = mapped_column(IdText, ForeignKey("users.id", ondelete="CASCADE"))
    tier: Mapped[str] = mapped_column(
        Text, ForeignKey(TierRow.name), default=lambda: get_settings().default_tier, server_default="enterprise"
    )
    quotas: Mapped[dict[str, int | None]] = mapped_column(JSONB, server_default="{}")
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class ApiKeyRow(AuthBase):
    """An API key: only the SHA-256 of its 256 random bits is kept.

    ``api_version``: what its requests speak. ``created_by``: the user or the key that made it; None: the operator.
    ``rotated_at``: since when another is to take its place. ``expires_at`` is then when the overlap ends, and
    ``meant_until`` what it was before.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("octet_length(hash) = 32", name="hash"),
        CheckConstraint("cardinality(scopes) >= 1", name="scopes"),
        CheckConstraint("created_by ~ '^(usr|key)_'", name="created_by"),
        CheckConstraint("api_version ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$'", name="api_version"),
        CheckConstraint("requests_per_minute BETWEEN 1 AND 10000000", name="requests_per_minute"),
        CheckConstraint(
            "CASE WHEN rotated_at IS NULL THEN meant_until IS NULL"
            " ELSE expires_at IS NOT NULL AND (meant_until IS NULL OR meant_until >= expires_at) END",
            name="rotated",
        ),
        Index("api_keys_team_id_idx", "team_id"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id] = mapped_column(ForeignKey("teams.id"))
    name: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Text)
    hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    api_version: Mapped[str] = mapped_column(Text, server_default=OLDEST)
    requests_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    created_by: Mapped[Id | None] = mapped_column(IdText)
    last_used_at: Mapped[TimestampTZ | None]
    expires_at: Mapped[TimestampTZ | None]
    revoked_at: Mapped[TimestampTZ | None]
    rotated_at: Mapped[TimestampTZ | None]
    meant_until: Mapped[TimestampTZ | None]


class DeprecatedUseRow(AuthBase):
    """How often a key or a user used something that is deprecated; ``feature``: a version or a change of one."""

    __tablename__ = "deprecated_uses"
    __table_args__ = (CheckConstraint("uses > 0", name="uses"),)

    team_id: Mapped[Id] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True)
    actor_id: Mapped[Id] = mapped_column(primary_key=True)
    feature: Mapped[Id] = mapped_column(primary_key=True)
    uses: Mapped[int] = mapped_column(BigInteger)
    first_used_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    last_used_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class UserRow(AuthBase):
    """A person. ``email`` is in the form that compares equal; ``password_hash`` is Argon2id's encoded text.

    ``totp_sealed`` is the encrypted secret of the second factor, in force from ``totp_since`` on; ``totp_used`` is the
    time step of the last code, which does not count again.
    """

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("email = lower(email) AND email LIKE '%_@_%'", name="email"),
        CheckConstraint("totp_since IS NULL OR totp_sealed IS NOT NULL", name="totp"),
        CheckConstraint("password_hash LIKE '$argon2id$%'", name="password_hash"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text, server_default="")
    password_hash: Mapped[str] = mapped_column(Text)
    password_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    verified_at: Mapped[TimestampTZ | None]
    disabled_at: Mapped[TimestampTZ | None]
    totp_sealed: Mapped[str | None] = mapped_column(Text)
    totp_since: Mapped[TimestampTZ | None]
    totp_used: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class MemberRow(AuthBase):
    """A user's role in a team. A trigger keeps the last owner."""

    __tablename__ = "members"
    __table_args__ = (
        CheckConstraint(f"role IN ({_listed(Role)})", name="role"),
        Index("members_user_id_idx", "user_id"),
    )

    team_id: Mapped[Id] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(Text)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class SessionRow(AuthBase):
    """A user who signed in on a device. ``refresh_hash`` is of the only refresh token that works."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("octet_length(refresh_hash) = 32", name="refresh_hash"),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        CheckConstraint("(revoked_at IS NULL) = (revoked_why IS NULL)", name="revoked"),
        Index("sessions_user_id_idx", "user_id", text("id DESC")),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    refresh_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    second_factor: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    address: Mapped[str] = mapped_column(Text)
    user_agent: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    used_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    expires_at: Mapped[TimestampTZ]
    revoked_at: Mapped[TimestampTZ | None]
    revoked_why: Mapped[str | None] = mapped_column(Text)


class SpentTokenRow(AuthBase):
    """A refresh token that was used: whoever presents it again ends its session."""

    __tablename__ = "spent_tokens"

    hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[Id] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    spent_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class OneTimeTokenRow(AuthBase):
    """Something that a mail asked for: verify an address, set a new password."""

    __tablename__ = "one_time_tokens"
    __table_args__ = (
        CheckConstraint(f"purpose IN ({_listed(Purpose)})", name="purpose"),
        Index("one_time_tokens_user_id_idx", "user_id"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    purpose: Mapped[str] = mapped_column(Text)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    expires_at: Mapped[TimestampTZ]
    used_at: Mapped[TimestampTZ | None]


class MailRow(AuthBase):
    """A mail that the dispatcher is to send; ``sealed``: to whom and what, encrypted."""

    __tablename__ = "mails"
    __table_args__ = (CheckConstraint("tries >= 0", name="tries"), Index("mails_next_at_idx", "next_at"))

    id: Mapped[Id] = mapped_column(primary_key=True)
    sealed: Mapped[str] = mapped_column(Text)
    tries: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    next_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class InvitationRow(AuthBase):
    """Somebody is asked into a team, by an address that may have an account or not."""

    __tablename__ = "invitations"
    __table_args__ = (
        CheckConstraint(f"role IN ({_listed(Role)})", name="role"),
        CheckConstraint("email = lower(email)", name="email"),
        CheckConstraint("num_nonnulls(accepted_at, revoked_at) <= 1", name="ended"),
        Index("invitations_team_id_idx", "team_id", text("id DESC")),
        Index(
            "invitations_open_idx", "team_id", "email", unique=True,
            postgresql_where=text("accepted_at IS NULL AND revoked_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"))
    email: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    invited_by: Mapped[Id]
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    expires_at: Mapped[TimestampTZ]
    accepted_at: Mapped[TimestampTZ | None]
    revoked_at: Mapped[TimestampTZ | None]


class SigningKeyRow(AuthBase):
    """A key that signs access tokens from ``signs_from`` on, until a newer one does. ``public`` is its JWK."""

    __tablename__ = "signing_keys"
    __table_args__ = (CheckConstraint("jsonb_typeof(public) = 'object' AND NOT public ? 'd'", name="public"),)

    id: Mapped[Id] = mapped_column(primary_key=True)
    sealed: Mapped[str] = mapped_column(Text)
    public: Mapped[dict[str, str]] = mapped_column(JSONB)
    signs_from: Mapped[TimestampTZ]
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class RecoveryCodeRow(AuthBase):
    """A code that stands in for the second factor, once: the row goes with it. Only its SHA-256 is kept."""

    __tablename__ = "recovery_codes"
    __table_args__ = (CheckConstraint("octet_length(hash) = 32", name="hash"),)

    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class SystemRoleRow(AuthBase):
    """What a user is for the whole platform. Triggers keep the last super administrator who can sign in."""

    __tablename__ = "system_roles"
    __table_args__ = (CheckConstraint(f"role IN ({_listed(SystemRole)})", name="role"),)

    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(Text, primary_key=True)
    granted_by: Mapped[Id | None] = mapped_column(IdText)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class ExternalIdentityRow(AuthBase):
    """A user as an OIDC provider knows them: issuer and subject, which do not change; ``email`` is as it was told."""

    __tablename__ = "external_identities"
    __table_args__ = (
        CheckConstraint("issuer <> '' AND subject <> ''", name="subject"),
        UniqueConstraint("issuer", "subject"),
        Index("external_identities_user_id_idx", "user_id"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    issuer: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    email: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    used_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class OidcFlowRow(AuthBase):
    """A browser that was sent to the provider, and may come back once; ``user_id``: to link that user.

    Hashes only: the state is in the address, the rest is derived from what the browser's cookie holds.
    """

    __tablename__ = "oidc_flows"
    __table_args__ = (
        CheckConstraint("octet_length(state_hash) = 32 AND octet_length(browser_hash) = 32", name="hashes"),
        Index("oidc_flows_expires_at_idx", "expires_at"),
    )

    state_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    browser_hash: Mapped[bytes] = mapped_column(LargeBinary)
    user_id: Mapped[Id | None] = mapped_column(IdText, ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    expires_at: Mapped[TimestampTZ]
