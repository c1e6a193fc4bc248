"""A server on loopback that answers what stands in its list, one after the other, for clients to be tried on."""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, kw_only=True)
class Told:
    """An answer. A status of 0: the connection ends without one; ``cut``: it ends within the body."""

    status: int = 200
    headers: dict = field(default_factory=dict)
    body: bytes = b'{"items": [], "next_cursor": null}'
    cut: bool = False


def event(seq, kind="job.progressed"):
    """An event as a stream shows it."""
    return f"id: {seq}\nevent: {kind}\ndata: {json.dumps({'seq': seq, 'type': kind, 'data': {}})}\n\n".encode()


def streamed(*parts, cut=False):
    """A stream that ends after these."""
    return Told(headers={"Content-Type": "text/event-stream"}, body=b"retry: 1000\n\n" + b"".join(parts), cut=cut)


class Answering:
    """``answers`` are given in their order, then empty pages; ``asked`` is what came, with its headers."""

    def __init__(self, url):
        self.url, self.answers, self.asked = url, [], []

    @property
    def methods(self):
        return [method for method, _, _ in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self):
        answering = self.server.answering
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answering.asked.append((self.command, self.path, dict(self.headers)))
        told = answering.answers.pop(0) if answering.answers else Told()
        self.close_connection = told.cut or not told.status or told.headers.get("Connection") == "close"
        if not told.status:
            return
        self.send_response(told.status)
        chunked = told.headers.get("Content-Type") == "text/event-stream"
        length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(told.body))}
        for name, value in (({} if told.status == 204 else length) | told.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if told.status == 204:
            return
        self.wfile.write(b"%x\r\n%b\r\n" % (len(told.body), told.body) if chunked else told.body)
        if chunked and not told.cut:
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  # what http.server looks for

    def log_message(self, *_):
        pass


@contextmanager
def answering():
    """Such a server, for as long as the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.answering = Answering(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.answering
    finally:
        server.shutdown()
        server.server_close()
