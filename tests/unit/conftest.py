"""What unit tests share: the Python client beside a server that answers what the test says."""

import pytest

from agora.client import Agora
from tests.support.answering import answering


class Rested(Agora):
    """A client that notes how long it would rest, and lets a test do something meanwhile."""

    def __init__(self, url):
        super().__init__(url, "agora_key", timeout=5)
        self.rests, self.meanwhile = [], iter(())

    def _rest(self, seconds):
        self.rests.append(seconds)
        next(self.meanwhile, None)


@pytest.fixture
def server():
    with answering() as found:
        yield found


@pytest.fixture
def api(server):
    with Rested(server.url) as client:
        yield client
