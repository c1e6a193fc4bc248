"""Teams, their members, invitations."""

import marshmallow as ma

from agora.identity.roles import Role
from api.schemas.common import Moment, Schema
from api.schemas.sign_in import EMAIL, PASSWORD, TOKEN

ROLE = ma.validate.OneOf(list(Role))
NAME = ma.validate.Length(1, 200)


class TeamIn(Schema):
    """What a team is called."""

    name = ma.fields.String(required=True, validate=NAME)


class TeamOut(Schema):
    """A team."""

    id = ma.fields.String()
    name = ma.fields.String()
    personal = ma.fields.Boolean(metadata={"description": "the own team of a user"})
    role = ma.fields.String(
        allow_none=True, metadata={"description": "the caller's; null for a key", "enum": [*Role, None]}
    )
    created_at = Moment()


class TeamsOut(Schema):
    """Teams of a user, their own first."""

    items = ma.fields.List(ma.fields.Nested(TeamOut))


class MemberOut(Schema):
    """A member of a team."""

    user_id = ma.fields.String()
    email = ma.fields.String()
    name = ma.fields.String()
    role = ma.fields.String(validate=ROLE)
    created_at = Moment()


class MembersOut(Schema):
    """Members of a team."""

    items = ma.fields.List(ma.fields.Nested(MemberOut))


class RoleIn(Schema):
    """A role."""

    role = ma.fields.String(required=True, validate=ROLE)


class InvitationIn(RoleIn):
    """Whom to invite, and as what."""

    email = ma.fields.String(required=True, validate=EMAIL)


class InvitationOut(Schema):
    """An open invitation; its token is in the mail only."""

    id = ma.fields.String()
    email = ma.fields.String()
    role = ma.fields.String(validate=ROLE)
    invited_by = ma.fields.String()
    created_at = Moment()
    expires_at = Moment()


class InvitationsOut(Schema):
    """Open invitations, the newest first."""

    items = ma.fields.List(ma.fields.Nested(InvitationOut))


class AcceptAsNewIn(Schema):
    """An invitation, and the account that is made with it."""

    token = ma.fields.String(required=True, validate=TOKEN)
    password = ma.fields.String(required=True, validate=PASSWORD)
    name = ma.fields.String(load_default="", validate=ma.validate.Length(0, 200))
