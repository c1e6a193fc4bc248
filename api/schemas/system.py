"""The platform as its administrators see it."""

import marshmallow as ma

from agora.identity.roles import SystemRole
from api.schemas.common import Moment, PageArgs, Schema, page_of
from api.schemas.quotas import OTHERWISE, QuotaUseOut
from api.schemas.sign_in import EMAIL

SYSTEM_ROLE = ma.validate.OneOf(list(SystemRole))


class TeamSummaryOut(Schema):
    """A team: who it is, and counts."""

    id = ma.fields.String()
    name = ma.fields.String()
    handle = ma.fields.String(allow_none=True)
    personal = ma.fields.Boolean(metadata={"description": "the own team of a user"})
    members = ma.fields.Integer()
    keys = ma.fields.Integer(metadata={"description": "API keys that are not revoked"})
    created_at = Moment()


class TeamDetailOut(TeamSummaryOut):
    """A team, with its tier and how much of its quotas it uses. The `ETag` is good for an edit of the tier."""

    tier = ma.fields.String()
    otherwise = OTHERWISE
    quotas = ma.fields.List(ma.fields.Nested(QuotaUseOut))


class AccountOut(Schema):
    """A user."""

    id = ma.fields.String()
    email = ma.fields.String()
    name = ma.fields.String()
    verified_at = Moment(allow_none=True)
    disabled_at = Moment(allow_none=True)
    second_factor = ma.fields.Boolean()
    system_roles = ma.fields.List(ma.fields.String(validate=SYSTEM_ROLE))
    created_at = Moment()


class AccountsArgs(PageArgs):
    """Which users."""

    email = ma.fields.String(load_default=None, validate=EMAIL)


class GrantIn(Schema):
    """Whom to make an administrator, and of which kind."""

    email = ma.fields.String(required=True, validate=EMAIL)
    role = ma.fields.String(required=True, validate=SYSTEM_ROLE)


class GrantedOut(Schema):
    """A system role that a user has."""

    user_id = ma.fields.String()
    email = ma.fields.String()
    role = ma.fields.String(validate=SYSTEM_ROLE)
    second_factor = ma.fields.Boolean(metadata={"description": "without one, the role does nothing"})
    granted_by = ma.fields.String(allow_none=True, metadata={"description": "a user; null: the command line"})
    created_at = Moment()


class AdminsOut(Schema):
    """Every system role that was granted, the oldest first."""

    items = ma.fields.List(ma.fields.Nested(GrantedOut))


class UsageArgs(Schema):
    """How far back to count."""

    days = ma.fields.Integer(load_default=1, validate=ma.validate.Range(1, 31))


class JobCountOut(Schema):
    """Jobs in one state."""

    status = ma.fields.String()
    jobs = ma.fields.Integer()
    teams = ma.fields.Integer(metadata={"description": "how many teams they are of"})
    tokens = ma.fields.Integer()
    cost_usd = ma.fields.String(metadata={"description": "a decimal number"})


class AccountCountsOut(Schema):
    """Users, teams and keys."""

    users = ma.fields.Integer()
    confirmed = ma.fields.Integer()
    disabled = ma.fields.Integer()
    with_second_factor = ma.fields.Integer()
    active = ma.fields.Integer(metadata={"description": "users with a session that was used since then"})
    teams = ma.fields.Integer()
    personal_teams = ma.fields.Integer()
    api_keys = ma.fields.Integer()


class PlatformUsageOut(Schema):
    """Counts, no content."""

    since = Moment()
    accounts = ma.fields.Nested(AccountCountsOut)
    jobs = ma.fields.List(ma.fields.Nested(JobCountOut), metadata={"description": "made since then"})


TeamPage = page_of(TeamSummaryOut, "TeamPage")
AccountPage = page_of(AccountOut, "AccountPage")
