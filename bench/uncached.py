"""The API with caches that remember nothing: what ``bench.caching`` compares with."""

from agora.caching.cache import Cache, Entry


def _nothing(_cache: Cache[object, object], _key: object) -> Entry[object] | None:
    return None


Cache.peek = _nothing  # type: ignore[method-assign]  # before the app has looked at any

from api.wsgi import app  # noqa: E402

__all__ = ["app"]
