"""Every type of event, in one place: what endpoints may filter by, what ``GET /event-types`` shows.

``agent.*`` stands for whatever agents emit. Golden files pin every schema, example and version.
"""

import re
from collections.abc import Mapping
from typing import Final

from agora.errors import NotFound
from agora.events.catalogue_jobs import JOBS
from agora.events.catalogue_product import PRODUCT
from agora.events.catalogue_webhooks import WEBHOOKS
from agora.events.catalogue_work import WORK
from agora.events.declare import NAME, EventType

CATALOGUE: Final[Mapping[str, EventType]] = {one.name: one for one in (*JOBS, *WORK, *PRODUCT, *WEBHOOKS)}
FAMILIES: Final = tuple(one.name.removesuffix("*") for one in CATALOGUE.values() if one.is_family)
"""What the types of families begin with."""
EVENT_TYPES: Final = tuple(name for name, one in CATALOGUE.items() if not one.is_family)
TERMINAL: Final = frozenset(name for name, one in CATALOGUE.items() if one.ends_job)
"""A job's stream ends after one of these."""


def find_type(name: str) -> EventType:
    """The type of this name, or the family that it belongs to. Raises NotFound."""
    found = CATALOGUE.get(name)
    for start in FAMILIES:
        if found is None and re.fullmatch(re.escape(start) + NAME, name):
            found = CATALOGUE[f"{start}*"]
    if found is None:
        raise NotFound(f"there is no event type {name}")
    return found


def matches_some(pattern: str) -> bool:
    """Whether a filter (a type, a beginning that ends in ``.*``, or ``*``) can match any event."""
    if pattern.startswith(FAMILIES):
        return True
    if pattern.endswith("*"):
        return any(name.startswith(pattern[:-1]) for name in CATALOGUE)
    return pattern in EVENT_TYPES
