"""The API with caches that remember nothing: what ``bench.caching`` compares with."""

from collections.abc import Callable, Sequence

from agora.caching.cache import Cache, Entry


def _nothing(_cache: Cache[object, object], _key: object) -> Entry[object] | None:
    return None


def _read(_cache: Cache[object, object], _key: object, _tags: Sequence[str], load: Callable[[], object]) -> object:
    """No tag is asked for, and nobody waits for another who reads the same: what there would be without a cache."""
    return load()


Cache.peek, Cache.get = _nothing, _read  # type: ignore[method-assign]  # before the app has looked at any

from api.wsgi import app  # noqa: E402

__all__ = ["app"]
