"""Sign-in at an OpenID provider."""

import marshmallow as ma

from api.schemas.common import Moment, Schema
from api.schemas.sign_in import ANY_CODE, TOKEN

LONG = ma.validate.Length(1, 4096)


class ProviderOut(Schema):
    """The provider."""

    name = ma.fields.String(metadata={"description": "what people call it"})
    issuer = ma.fields.String()
    start = ma.fields.String(metadata={"description": "the path to send a browser to"})


class CallbackArgs(Schema):
    """What the provider sends the browser back with."""

    class Meta:
        """Marshmallow's settings: providers add parameters of their own (RFC 6749, 4.1.2)."""

        unknown = ma.EXCLUDE

    state = ma.fields.String(required=True, validate=TOKEN)
    code = ma.fields.String(load_default=None, validate=LONG)
    error = ma.fields.String(load_default=None, validate=LONG)
    iss = ma.fields.String(load_default=None, validate=LONG)


class TicketIn(Schema):
    """What `second-factor-needed` came with, and a code."""

    ticket = ma.fields.String(required=True, validate=TOKEN)
    code = ma.fields.String(
        required=True, validate=ANY_CODE, metadata={"description": "of the second factor, or a recovery code"}
    )


class UrlOut(Schema):
    """Where to send the browser."""

    url = ma.fields.String(metadata={"description": "within ten minutes, in the browser that asked"})


class LinkOut(Schema):
    """How a provider knows the user."""

    id = ma.fields.String()
    issuer = ma.fields.String()
    subject = ma.fields.String()
    email = ma.fields.String(metadata={"description": "as the provider told it when it was linked"})
    created_at = Moment()
    used_at = Moment()


class LinksOut(Schema):
    """All of them."""

    items = ma.fields.List(ma.fields.Nested(LinkOut))
