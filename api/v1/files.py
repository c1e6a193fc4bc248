"""Upload documents and download what agents made."""

from typing import Any
from urllib.parse import quote

from flask import Response, request

from agora.errors import TooLarge
from agora.files import service, store
from agora.settings import get_settings
from api.auth import scope, team_id
from api.blueprint import Blueprint
from api.schemas.common import PageArgs, Problem
from api.schemas.files import FileOut, FilePage, UploadQuery
from api.shaping import listed

BYTES = {"type": "string", "format": "binary"}
blueprint = Blueprint("files", __name__, url_prefix="/api/v1/files", description="Files, by reference.")


@blueprint.post("")
@blueprint.doc(requestBody={"content": {"application/octet-stream": {"schema": BYTES}}})
@scope("files:write")
@blueprint.arguments(UploadQuery, location="query")
@blueprint.response(201, FileOut)
@blueprint.alt_response(413, schema=Problem, description="The body is longer than a file may be.")
def upload(query: dict[str, Any]) -> Any:
    """Store the request's body as a file. The body is the file itself, of any media type, streamed to storage."""
    limit = get_settings().max_file_bytes
    request.max_content_length = limit + 1  # the framework refuses at its limit, the store beyond
    if (request.content_length or 0) > limit:
        raise TooLarge(f"the file has {request.content_length} bytes, the limit is {limit} (AGORA_MAX_FILE_BYTES)")
    media_type = (request.content_type or "").partition(";")[0].strip()
    if media_type in {"application/x-www-form-urlencoded", "application/octet-stream"}:
        media_type = ""  # what clients say when they do not know
    return service.store_file(query["name"], request.stream, team_id=team_id(), media_type=media_type)


@blueprint.get("")
@scope("files:read")
@blueprint.arguments(listed(PageArgs, FileOut), location="query")
@blueprint.response(200, FilePage)
def list_files(query: dict[str, Any]) -> Any:
    """List files, newest first."""
    return service.list_files(team_id=team_id(), limit=query["limit"], cursor=query["cursor"], sort=query["sort"])


@blueprint.get("/<file_id>")
@scope("files:read")
@blueprint.sparse(FileOut)
@blueprint.response(200, FileOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such file.")
def get_file(file_id: str) -> Any:
    """What is known of a file."""
    return service.get_file(file_id, team_id=team_id())


@blueprint.get("/<file_id>/content")
@scope("files:read")
@blueprint.response(
    200, BYTES, content_type="application/octet-stream", description="It has the file's own media type."
)
@blueprint.doc(responses={200: {"content": {"*/*": {"schema": BYTES}}}})
@blueprint.alt_response(404, schema=Problem, description="The team has no such file.")
def get_content(file_id: str) -> Response:
    """The content of a file, always as a download: nothing that was uploaded is shown as a page of this site."""
    found = service.get_file(file_id, team_id=team_id())
    stream = service.open_file(file_id, team_id=team_id())
    response = Response(store.chunks_of(stream), content_type=found.media_type)
    response.call_on_close(stream.close)
    response.headers["Content-Length"] = str(found.size)
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(found.name)}"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
