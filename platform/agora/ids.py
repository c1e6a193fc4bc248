"""TypeIDs: a prefix and a UUIDv7 in base32, such as ``job_01h455vb4pex5vsknk084sn02q``. They sort by time.

Source: the TypeID specification, version 0.3.
"""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from typeid import TypeID
from typeid.errors import TypeIDException
from uuid_utils import UUID

PREFIXES: Final = {
    "job": "a job",
    "stp": "a step of a job",
    "att": "one try of a step",
    "apr": "an approval that a job asks for",
    "use": "what a step spent in one call",
    "evt": "an event",
    "bat": "a batch of jobs",
    "blk": "a bulk action",
    "sch": "a schedule",
    "fil": "a file",
    "key": "an API key",
    "team": "a team",
    "usr": "a user",
    "inv": "an invitation to a team",
    "sgn": "a session of a user who signed in",
    "otk": "a one-time token",
    "ext": "a user as an OIDC provider knows them",
    "eml": "a mail",
    "jwk": "a key that signs access tokens",
    "wrk": "a worker process",
    "whe": "a webhook endpoint",
    "whd": "a webhook delivery",
    "wha": "one try of a delivery",
    "whk": "a signing key of webhooks",
    "wfo": "a webhook fan-out that was put off",
    "wrp": "a replay of webhook deliveries",
    "wpl": "a link to the webhook portal",
    "prj": "a project",
    "ses": "a session",
    "spc": "a specification",
    "cfl": "a conflict",
    "hld": "a legal hold",
    "aud": "an entry of the audit log",
    "req": "an HTTP request",
}
"""Every prefix in use and what it names."""

CLOCKS: Final = timedelta(minutes=5)
"""How far the clocks of hosts, which make ids, and that of the database, which notes times, may be apart."""

_VERSION_7: Final = 0x7 << 76
_VARIANT: Final = 0x2 << 62


def new_id(prefix: str) -> str:
    """A fresh id. Raises KeyError for a prefix that is not in PREFIXES."""
    PREFIXES[prefix]
    return str(TypeID(prefix))


def twin_id(text: str) -> str:
    """A fresh id of the same kind and time as another. Raises TypeIDException for what is no id."""
    found, chance = TypeID.from_string(text), secrets.randbits(74)
    number = found.uuid.int >> 80 << 80 | _VERSION_7 | chance >> 62 << 64 | _VARIANT | chance & (1 << 62) - 1
    return str(TypeID.from_uuid(UUID(int=number), found.prefix))


def is_id(text: str, prefix: str) -> bool:
    """Whether ``text`` is a well-formed id of this kind."""
    try:
        return TypeID.from_string(text).prefix == prefix
    except TypeIDException:
        return False


def floor_id(prefix: str, moment: datetime) -> str:
    """The smallest id of this kind made at ``moment`` (to the millisecond): a bound for partitions and scans.

    Ids begin with 1970, so of what is before it is the smallest of all.
    """
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return str(TypeID.from_uuid(UUID(int=(milliseconds << 80) | _VERSION_7 | _VARIANT), prefix))


def made_at(text: str) -> datetime:
    """When an id was made that sorts by time. Raises TypeIDException for what is no id."""
    return datetime.fromtimestamp((TypeID.from_string(text).uuid.int >> 80) / 1000, UTC)


def month_id(prefix: str, moment: datetime) -> str:
    """An id below all that belongs to what was made at ``moment``, and in its month: it keeps old partitions out."""
    first = moment.astimezone(UTC) - CLOCKS
    return floor_id(prefix, first.replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def id_from_bytes(prefix: str, identity: bytes) -> str:
    """An id made from 16 bytes of content: the same each time; it does not sort by time."""
    return str(TypeID.from_uuid(UUID(bytes=identity), prefix))
