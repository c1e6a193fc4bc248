"""Sign-up, sign-in, and what users do about themselves."""

import marshmallow as ma

from api.schemas.common import Moment, Schema

EMAIL = ma.validate.Length(3, 254)
PASSWORD = ma.validate.Length(1, 256)
TOKEN = ma.validate.Length(1, 500)
CODE = ma.validate.Regexp(r"^[0-9]{6}$", error="must be six digits")
ANY_CODE = ma.validate.Regexp(
    r"^([0-9]{6}|[A-Za-z2-7]{4}(-?[A-Za-z2-7]{4}){3})$", error="must be six digits, or a recovery code"
)


class SignUpIn(Schema):
    """A new account."""

    email = ma.fields.String(required=True, validate=EMAIL)
    password = ma.fields.String(required=True, validate=PASSWORD)
    name = ma.fields.String(load_default="", validate=ma.validate.Length(0, 200))


class SignInIn(Schema):
    """Who signs in."""

    email = ma.fields.String(required=True, validate=EMAIL)
    password = ma.fields.String(required=True, validate=PASSWORD)
    code = ma.fields.String(
        load_default=None,
        allow_none=True,
        validate=ANY_CODE,
        metadata={"description": "of the second factor, if one is set; or a recovery code"},
    )


class RefreshIn(Schema):
    """The refresh token of the last answer."""

    refresh_token = ma.fields.String(required=True, validate=TOKEN)


class TokensOut(Schema):
    """Tokens of a session."""

    access_token = ma.fields.String(metadata={"description": "send it as `Authorization: Bearer`"})
    token_type = ma.fields.Constant("Bearer")
    expires_in = ma.fields.Integer(metadata={"description": "seconds for which the access token works"})
    refresh_token = ma.fields.String(metadata={"description": "works once; a second use ends the session"})
    session_id = ma.fields.String()


class TokenIn(Schema):
    """A token that a mail brought."""

    token = ma.fields.String(required=True, validate=TOKEN)


class EmailIn(Schema):
    """Whose password is to be set anew."""

    email = ma.fields.String(required=True, validate=EMAIL)


class ResetIn(TokenIn):
    """The new password."""

    password = ma.fields.String(required=True, validate=PASSWORD)


class UserOut(Schema):
    """A user."""

    id = ma.fields.String()
    email = ma.fields.String()
    name = ma.fields.String()
    verified_at = Moment(allow_none=True)
    second_factor = ma.fields.Boolean()
    recovery_codes = ma.fields.Integer(metadata={"description": "how many are left"})
    created_at = Moment()


class UserPatch(Schema):
    """What to change."""

    name = ma.fields.String(required=True, validate=ma.validate.Length(0, 200))


class PasswordIn(Schema):
    """The password until now, and the new one."""

    old_password = ma.fields.String(required=True, validate=PASSWORD)
    new_password = ma.fields.String(required=True, validate=PASSWORD)


class EnrolledOut(Schema):
    """A second factor that is not in force yet."""

    uri = ma.fields.String(metadata={"description": "otpauth://, as apps read it from a QR code; shown this once"})


class CodeIn(Schema):
    """A code of the second factor."""

    code = ma.fields.String(required=True, validate=CODE)


class VerifyIn(TokenIn):
    """The token of the mail, and the password that the account was made with."""

    password = ma.fields.String(required=True, validate=PASSWORD)


class EnrolIn(Schema):
    """Whoever sets a second factor up knows the password."""

    password = ma.fields.String(required=True, validate=PASSWORD)


class RecoveryCodesOut(Schema):
    """Codes that stand in for the second factor, each once."""

    recovery_codes = ma.fields.List(
        ma.fields.String(), metadata={"description": "shown this once; keep them apart from the device"}
    )


class RemoveFactorIn(Schema):
    """Who removes it must know both; a recovery code will do."""

    code = ma.fields.String(required=True, validate=ANY_CODE)
    password = ma.fields.String(required=True, validate=PASSWORD)


class SessionOut(Schema):
    """Where a user is signed in."""

    id = ma.fields.String()
    address = ma.fields.String()
    user_agent = ma.fields.String()
    second_factor = ma.fields.Boolean()
    created_at = Moment()
    used_at = Moment()
    expires_at = Moment()


class SessionsOut(Schema):
    """All of them, the newest first."""

    items = ma.fields.List(ma.fields.Nested(SessionOut))
