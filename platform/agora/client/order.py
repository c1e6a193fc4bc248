"""The client's methods about queues and limits."""

from typing import Any
from urllib.parse import quote

from agora.client.wire import Answer, Json, Wire


class OrderMethods(Wire):
    """What operators and teams do about order."""

    def queues(self) -> list[Json]:
        """Every queue, with how much work it holds."""
        found: list[Json] = self._json("GET", "/queues")["items"]
        return found

    def pause_queue(self, name: str, reason: str = "") -> Json:
        """Pause a queue, for all teams; takes the scope ``queues:write``."""
        return self._json("POST", f"/queues/{quote(name, safe='')}/pause", {"reason": reason})

    def resume_queue(self, name: str) -> Json:
        """Let a queue go on."""
        return self._json("POST", f"/queues/{quote(name, safe='')}/resume")

    def limits(self) -> list[Json]:
        """The limits that concern the team."""
        found: list[Json] = self._json("GET", "/limits")["items"]
        return found

    def get_limit(self, target: str) -> Answer:
        """A limit of the team. ``etag`` of the answer names its state."""
        return self._json("GET", f"/limits/{quote(target, safe='')}")

    def put_limit(self, target: str, *, if_match: str | None = None, **fields: Any) -> Answer:
        """Set a limit of the team on ``*``, an agent or ``agent.action``: ``max_running``, ``rate``, ``burst``.

        With ``if_match`` only if it still has this ``etag`` (else 412).
        """
        return self._json("PUT", f"/limits/{quote(target, safe='')}", fields, if_match=if_match)

    def delete_limit(self, target: str, *, if_match: str | None = None) -> None:
        """Lift a limit of the team."""
        self._delete(f"/limits/{quote(target, safe='')}", if_match)

    def quotas(self) -> Json:
        """What the tier of the team allows, and how much of it is used."""
        return self._json("GET", "/quotas")
