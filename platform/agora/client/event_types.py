"""The client's methods about the catalogue of event types."""

from urllib.parse import quote

from agora.client.wire import Json, Wire


class EventTypeMethods(Wire):
    """What webhooks can tell of, and in which shape."""

    def event_types(self) -> list[Json]:
        """Every type of event, with the JSON Schema of its payload and an example."""
        found: list[Json] = self._json("GET", "/event-types")["items"]
        return found

    def event_type(self, name: str) -> Json:
        """One type of event."""
        return self._json("GET", f"/event-types/{quote(name, safe='')}")
