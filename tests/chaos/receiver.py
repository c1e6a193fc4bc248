"""The receiver of completion webhooks: verifies each signature, notes the ids, and can be slow."""

import asyncio
import json
from dataclasses import dataclass

from aiohttp import web

from agora.client import verify
from agora.errors import AgoraError
from tests.support.receiver import Receiver

PATH = "/completions"


@dataclass(frozen=True, kw_only=True, slots=True)
class Hook:
    """One webhook as it came. ``forged`` is why its signature did not hold; empty when it did."""

    id: str
    type: str
    job_id: str
    forged: str


class Hooks:
    """Takes the webhooks of a run. ``delay`` is how many seconds it thinks before it answers."""

    def __init__(self):
        self.delay, self.secret = 0.0, ""
        self._receiver = Receiver()
        self.url = self._receiver.behave(PATH, self._answer)

    async def _answer(self, _request):
        await asyncio.sleep(self.delay)
        return web.Response(status=204)

    def close(self):
        """End."""
        self._receiver.close()

    def count(self):
        """How many came so far."""
        return len(self._receiver.got[PATH])

    def read(self):
        """Every webhook that came, in order."""
        return [self._hook(headers, body) for headers, body, *_ in list(self._receiver.got[PATH])]

    def _hook(self, headers, body):
        event, forged = json.loads(body), ""
        try:
            verify(headers, body, self.secret, tolerance=float("inf"))
        except AgoraError as error:
            forged = str(error)
        return Hook(id=headers["webhook-id"], type=event["type"], job_id=event["data"]["job_id"], forged=forged)
