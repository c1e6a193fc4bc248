"""Files."""

import marshmallow as ma

from api.schemas.common import Moment, Schema, links_to, page_of


class FileOut(Schema):
    """A stored file."""

    id = ma.fields.String()
    name = ma.fields.String()
    media_type = ma.fields.String()
    size = ma.fields.Integer()
    sha256 = ma.fields.String()
    created_at = Moment()
    links = links_to(self="/api/v1/files/{id}", content="/api/v1/files/{id}/content")


class UploadQuery(Schema):
    """What the body is."""

    name = ma.fields.String(required=True, validate=ma.validate.Length(1, 255))


FilePage = page_of(FileOut, "FilePage")
