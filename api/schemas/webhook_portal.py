"""Links to the webhook portal."""

import marshmallow as ma

from agora.webhooks.portal_links import DEFAULT_LIFE, LONGEST_LIFE, MAX_LABEL, MAX_SCOPE_KEYS, SHORTEST_LIFE, LinkState
from api.schemas.common import Flag, Moment, Schema, page_of


class PortalLinkIn(Schema):
    """A link to be made: `scope`, or `all_endpoints` said outright."""

    scope = ma.fields.Dict(
        keys=ma.fields.String(),
        metadata={
            "description": "opens the endpoints whose metadata contains it; what is made through the link gets it",
            "maxProperties": MAX_SCOPE_KEYS,
            "example": {"customer": "acme"},
        },
    )
    all_endpoints = Flag(metadata={"description": "every endpoint of the team; only without `scope`"})
    read_only = Flag(metadata={"description": "it may look, and change nothing"})
    label = ma.fields.String(
        validate=ma.validate.Length(0, MAX_LABEL), metadata={"description": "who it is for; the page shows it"}
    )
    expires_in = ma.fields.Integer(
        strict=True, validate=ma.validate.Range(SHORTEST_LIFE, LONGEST_LIFE),
        metadata={"description": f"seconds; {DEFAULT_LIFE} if not given"},
    )  # fmt: skip


class PortalLinkOut(Schema):
    """A link, without its token."""

    id = ma.fields.String()
    label = ma.fields.String()
    scope = ma.fields.Dict()
    all_endpoints = ma.fields.Boolean()
    read_only = ma.fields.Boolean()
    status = ma.fields.String(validate=ma.validate.OneOf([str(state) for state in LinkState]))
    created_at = Moment()
    expires_at = Moment()
    revoked_at = Moment(allow_none=True)


class NewPortalLinkOut(PortalLinkOut):
    """A new link, with the URL to hand over."""

    url = ma.fields.String(
        allow_none=True, metadata={"description": "shown this once: a repeat by Idempotency-Key gets null"}
    )


PortalLinkPage = page_of(PortalLinkOut, "PortalLinkPage")
