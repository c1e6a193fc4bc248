"""A local receiver of webhooks: verifies and prints what comes."""

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click

from agora.cli.common import json_option
from agora.client import verify
from agora.errors import AgoraError

MAX_BODY = 1024 * 1024
NO_CONTENT, BAD_REQUEST, TOO_LARGE = 204, 400, 413


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request: its headers, body, and why it was refused, if it was."""

    headers: dict[str, str]
    body: bytes
    refused: str | None = None

    @property
    def event(self) -> dict[str, Any]:
        """The payload; empty when it is no JSON object."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(slots=True)
class Receiver:
    """A running receiver: where it listens, and what came. ``secret`` may be set after the start."""

    secret: str | None
    port: int = 0
    received: "queue.Queue[Received]" = field(default_factory=queue.Queue)

    @property
    def url(self) -> str:
        """The URL to deliver to."""
        return f"http://127.0.0.1:{self.port}/"

    def judge(self, headers: dict[str, str], body: bytes) -> Received:
        """Verify one request."""
        if self.secret is None:
            return Received(headers=headers, body=body)
        try:
            verify(headers, body, self.secret)
        except AgoraError as error:
            return Received(headers=headers, body=body, refused=str(error))
        return Received(headers=headers, body=body)


@contextmanager
def receiver(secret: str | None, port: int = 0) -> Iterator[Receiver]:
    """Listen on loopback for the length of the block."""
    here = Receiver(secret)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            length = int(self.headers.get("Content-Length") or 0)
            if length > MAX_BODY:
                self.answer(TOO_LARGE)
                return
            found = here.judge(dict(self.headers.items()), self.rfile.read(length))
            self.answer(NO_CONTENT if found.refused is None else BAD_REQUEST)
            here.received.put(found)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            del format, args  # the command prints what came

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    here.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()


@click.command("listen")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free port.")
@click.option("--secret", envvar="AGORA_WEBHOOK_SECRET", help="whsec_…; without it nothing is verified.")
@click.option("--count", type=click.IntRange(1), help="Stop after so many.")
@json_option
def listen_command(port: int, secret: str | None, count: int | None, as_json: bool) -> int:
    """Receive webhooks on loopback, verify and print them."""
    refused = 0
    with receiver(secret, port) as here:
        click.echo(f"listening on {here.url}" + ("" if secret else " (no --secret: nothing is verified)"), err=True)
        seen = 0
        while count is None or seen < count:
            found = here.received.get()
            seen += 1
            refused += found.refused is not None
            print(json_line(found) if as_json else plain_line(found, verified=secret is not None), flush=True)
    return 1 if refused else 0


def json_line(found: Received) -> str:
    """One JSON line."""
    headers = {name.lower(): value for name, value in found.headers.items()}
    return json.dumps({"id": headers.get("webhook-id"), "refused": found.refused, "event": found.event})


def plain_line(found: Received, *, verified: bool) -> str:
    """One line for people."""
    headers = {name.lower(): value for name, value in found.headers.items()}
    state = f"REFUSED: {found.refused}" if found.refused else ("verified" if verified else "not verified")
    event = found.event
    job_id = event.get("data", {}).get("job_id", "")
    return f"{state}  {event.get('type', '?')}  {headers.get('webhook-id', '?')}  {job_id}"
