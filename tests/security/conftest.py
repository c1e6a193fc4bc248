"""A real web server for those tests that speak HTTP by hand."""

import pytest

from tests.support.web import gunicorn

SILENCE = 0.5


@pytest.fixture(scope="session")
def web_log(tmp_path_factory):
    return tmp_path_factory.mktemp("web") / "log"


@pytest.fixture(scope="session")
def web(environment, web_log):
    """gunicorn with less patience than in earnest."""
    with gunicorn(
        web_log, AGORA_READ_SECONDS=str(SILENCE), AGORA_READ_RATE="65536", AGORA_MAX_BODY_BYTES="65536",
        AGORA_MAX_FILE_BYTES=str(4 * 1024 * 1024), AGORA_LOG_LEVEL="info",
    ) as running:  # fmt: skip
        yield running
