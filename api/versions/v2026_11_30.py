"""2026-11-30: a new key says what it may do, secrets and seconds have better names, recovery codes come along."""

from typing import Any

from api.versions.change import Body, Change, Renamed, Version

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
    ),
)
