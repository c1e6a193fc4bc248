"""Sessions that have ended: every process is told, so that none lets their tokens in any more.

The truth is in Postgres. While Redis is away, nobody trusts what they remember: Postgres is asked each time.
"""

from collections.abc import Iterable

from agora.caching.generations import changed, session_tag


def tell(session_ids: Iterable[str]) -> None:
    """What is remembered of these sessions is no longer so."""
    changed(*(session_tag(one) for one in session_ids))
