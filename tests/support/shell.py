"""The `agora` command in the test's own process, against the API on a loopback port."""

import io
import sys
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from unittest import mock

from werkzeug.serving import WSGIRequestHandler, make_server

from agora.cli import run


class Silent(WSGIRequestHandler):
    """Logs nothing."""

    def log_request(self, *args):
        pass


@contextmanager
def serving(app):
    """Serve an app for the length of the block; gives its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


class Shell:
    """Runs commands with a key; returns what they print: the output, or the errors when they fail as expected."""

    def __init__(self, url, key):
        self.options = ["--url", url, "--key", key]

    def __call__(self, *arguments, given="", code=0):
        out, err = io.StringIO(), io.StringIO()
        stdin = io.TextIOWrapper(io.BytesIO(given.encode()))
        with redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "stdin", stdin):
            ended = run([*self.options, *arguments])
        assert ended == code, (arguments, ended, out.getvalue(), err.getvalue())
        return out.getvalue() if code == 0 else err.getvalue()
