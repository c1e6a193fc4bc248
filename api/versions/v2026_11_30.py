"""2026-11-30: a new key says what it may do, secrets and seconds have better names, recovery codes come along."""

import re

from agora.errors import invalid_field
from api.versions.change import POSITION, Body, Change, Renamed, Version

ROTATIONS = frozenset(
    {"keys.rotate_key", "webhook-key-rotations.rotate_endpoint_key", "webhook-key-rotations.rotate_team_key"}
)
EVERYTHING = ["*"]
BEGINNING, LAST_INDEX = -1, 2**31 - 2


def _all_scopes(body: Body) -> Body:
    """Before, a key that named no scopes got all."""
    return body if "scopes" in body else body | {"scopes": EVERYTHING}


def _scopes_or_all(schema: Body) -> Body:
    scopes = schema["properties"]["scopes"] | {"default": EVERYTHING}
    needed = [name for name in schema["required"] if name != "scopes"]
    return schema | {"properties": schema["properties"] | {"scopes": scopes}, "required": needed}


PLAIN = Renamed("plain", "secret")
"""Before, the text of a new key was ``plain``."""


def _item_cursor(query: Body) -> Body:
    """Before, the cursor of a list of items was the index of the last one, or -1. Raises Invalid, as it did then."""
    if "cursor" not in query:
        return query
    indices = [_index(one) for one in query["cursor"]]
    cursors = [f"{POSITION}{one}" for one in indices if one != BEGINNING]
    return {name: value for name, value in query.items() if name != "cursor"} | ({"cursor": cursors} if cursors else {})


def _index(text: str) -> int:
    if not re.fullmatch(r"\s*[+-]?\d{1,20}\s*", text, re.ASCII):
        raise invalid_field("/cursor", "integer", "/cursor: must be a whole number", text)
    index = int(text)
    if not BEGINNING <= index <= LAST_INDEX:
        raise invalid_field("/cursor", "range", f"/cursor: must be {BEGINNING} to {LAST_INDEX}", text)
    return index


def _item_index(page: Body) -> Body:
    items = page.get("items")
    if page.get("next_cursor") is None or not items or "index" not in items[-1]:
        return page
    return page | {"next_cursor": str(items[-1]["index"])}


VERSION = Version(
    date="2026-11-30",
    changes=(
        Change(
            name="keys.scopes-required",
            description="`POST /api/v1/keys` needs `scopes`. Without it, a key used to get all of them (`*`): what was "
            "left out by mistake made a key that may do everything.",
            operations=frozenset({"keys.create_key"}),
            request=_all_scopes,
            request_schema=_scopes_or_all,
        ),
        Change(
            name="keys.secret",
            description="The text of a new API key is `secret`, as that of webhook endpoints and keys; it was `plain`.",
            operations=frozenset({"keys.create_key", "keys.rotate_key"}),
            response=PLAIN,
            response_schema=PLAIN.schema,
        ),
        Change(
            name="rotations.overlap-seconds",
            description="How long older keys go on beside a new one is `overlap_seconds`; it was `overlap`. It "
            "concerns the rotation of API keys and of webhook keys.",
            operations=ROTATIONS,
            asked=(Renamed("overlap", "overlap_seconds"),),
        ),
        Change(
            name="me.recovery-codes",
            description="`POST /api/v1/me/second-factor/confirm` answers 200 with `recovery_codes`, which are shown "
            "this once; it answered 204. Others are made by `POST /api/v1/me/second-factor/recovery-codes`.",
            operations=frozenset({"me.confirm"}),
            older_status=204,
        ),
        Change(
            name="items.cursor",
            description="Cursors of `GET /api/v1/jobs/{job_id}/items` are signed texts, as those of other lists; they "
            "were numbers.",
            operations=frozenset({"jobs.list_items"}),
            query=_item_cursor,
            response=_item_index,
            parameters={
                "cursor": {"type": "integer", "default": BEGINNING, "minimum": BEGINNING, "maximum": LAST_INDEX}
            },
        ),
    ),
)
