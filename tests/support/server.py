"""The API on a port of loopback, in a thread of the test's own process: for its client and its command line."""

import threading
from contextlib import contextmanager

from werkzeug.serving import WSGIRequestHandler, make_server


class Silent(WSGIRequestHandler):
    """Logs nothing: what a command prints is looked at."""

    def log(self, *_):
        pass


@contextmanager
def served(app):
    """The URL of an app while the block runs."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
