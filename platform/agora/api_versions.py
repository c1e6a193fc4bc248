"""Which dated versions the HTTP API has. ``api/versions`` tells what changed in each, docs/versioning.md the policy."""

from typing import Final

VERSIONS: Final = ("2026-11-23", "2026-11-30")
"""Oldest first. A version that was released is never taken away, and its date never changed."""
OLDEST: Final = VERSIONS[0]
NEWEST: Final = VERSIONS[-1]
HEADER: Final = "Agora-Version"
