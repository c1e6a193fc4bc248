"""What this worker injects into its steps."""

from collections.abc import Mapping
from typing import Any


def ports() -> Mapping[type, Any]:
    """The implementations of the ports, by their type."""
    return {}
