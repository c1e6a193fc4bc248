"""2026-11-30: a new key says what it may do, secrets and seconds have better names, recovery codes come along."""

from typing import Any

from api.versions.change import POSITION, Body, Change, Renamed, Version

ROTATIONS = frozenset(
    {"keys.rotate_key", "webhook-key-rotations.rotate_endpoint_key", "webhook-key-rotations.rotate_team_key"}
)
EVERYTHING = ["*"]


def _all_scopes(body: Body) -> Body:
    """Before, a key that named no scopes got all."""
    return body if "scopes" in body else body | {"scopes": EVERYTHING}


def _plain(body: dict[str, Any]) -> Body:
    """Before, the text of a new key was ``plain``."""
    return Renamed("plain", "secret")(body)


def _item_cursor(query: Body) -> Body:
    """Before, the cursor of a list of items was the index of the last one."""
    given = query.get("cursor", [])
    if not any(one.isdecimal() for one in given):
        return query
    return query | {"cursor": [POSITION + one if one.isdecimal() else one for one in given]}


def _item_index(page: Body) -> Body:
    items = page.get("items")
    if page.get("next_cursor") is None or not items or "index" not in items[-1]:
        return page
    return page | {"next_cursor": items[-1]["index"]}


VERSION = Version(
    date="2026-11-30",
    changes=(
        Change(
            name="keys.scopes-required",
            description="`POST /api/v1/keys` needs `scopes`. Without it, a key used to get all of them (`*`): what was "
            "left out by mistake made a key that may do everything.",
            operations=frozenset({"keys.create_key"}),
            request=_all_scopes,
        ),
        Change(
            name="keys.secret",
            description="The text of a new API key is `secret`, as that of webhook endpoints and keys; it was `plain`.",
            operations=frozenset({"keys.create_key", "keys.rotate_key"}),
            response=_plain,
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
        ),
    ),
)
