"""A local receiver of webhooks: verifies and prints what comes, and passes it on to a local server."""

import json
import queue
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Never

import click

from agora.cli.common import client, json_option
from agora.cli.forward import Answer, Target
from agora.client import Agora, ApiError, verify
from agora.errors import AgoraError, Invalid
from agora.webhooks.signing import generate

MAX_BODY = 1024 * 1024
NO_CONTENT, BAD_REQUEST, NOT_FOUND, TOO_LARGE = 204, 400, 404, 413
TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request: its headers, body, why it was refused, if it was, and what became of passing it on."""

    headers: dict[str, str]
    body: bytes
    refused: str | None = None
    forwarded: Answer | None = None

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
    """A running receiver: where it listens, and what came. ``secret`` may be set after the start.

    What is authentic is passed on to ``target``, whose answer the sender gets.
    """

    secret: str | None
    port: int = 0
    target: Target | None = None
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

    def take(self, headers: dict[str, str], body: bytes) -> Received:
        """Verify one request and pass it on."""
        found = self.judge(headers, body)
        if found.refused is not None or self.target is None:
            return found
        return replace(found, forwarded=self.target.send(headers, body))


@contextmanager
def receiver(secret: str | None, port: int = 0, target: Target | None = None) -> Iterator[Receiver]:
    """Listen on loopback for the length of the block."""
    here = Receiver(secret, target=target)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            length = int(self.headers.get("Content-Length") or 0)
            if length > MAX_BODY:
                self.answer(TOO_LARGE)
                return
            found = here.take(dict(self.headers.items()), self.rfile.read(length))
            if found.forwarded is None:
                self.answer(NO_CONTENT if found.refused is None else BAD_REQUEST)
            else:
                said = found.forwarded
                self.answer(said.status, said.headers, said.body or (said.error or "").encode())
            here.received.put(found)

        def answer(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if status != NO_CONTENT:
                self.send_header("Content-Length", str(len(body)))
            with suppress(ConnectionError):  # the sender may have given up by now
                self.end_headers()
                self.wfile.write(b"" if status == NO_CONTENT else body)

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


@contextmanager
def registered(api: Agora, here: Receiver, types: Sequence[str]) -> Iterator[None]:
    """An endpoint at the API that leads to the receiver, for the length of the block, with a secret of its own."""
    here.secret = generate().text
    signal.signal(signal.SIGTERM, _terminate)
    fields = {"event_types": list(types) or ["*"], "secret": here.secret, "description": "agora listen"}
    made = api.create_endpoint(here.url, **fields)
    try:
        click.echo(f"made endpoint {made['id']} for {' '.join(made['event_types'])}: deleted at the end", err=True)
        yield
    finally:
        try:
            api.delete_endpoint(made["id"])
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
        click.echo(f"deleted endpoint {made['id']}", err=True)


def _terminate(*_: object) -> Never:
    raise SystemExit(TERMINATED)


@click.command("listen")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free port.")
@click.option(
    "--secret",
    envvar="AGORA_WEBHOOK_SECRET",
    help="whsec_…, or whpk_… of a v1a key; without it nothing is verified.",
)
@click.option("--endpoint", is_flag=True, help="Make an endpoint at the API for the time being.")
@click.option("--type", "types", multiple=True, help="With --endpoint: an event type, or a beginning such as job.*")
@click.option("--forward", metavar="URL", help="Pass what is authentic on to a server on this machine.")
@click.option("--count", type=click.IntRange(1), help="Stop after so many.")
@json_option
@click.pass_context
def listen_command(ctx: click.Context, /, port: int, secret: str | None, count: int | None, **options: Any) -> int:
    """Receive webhooks on loopback, verify and print them.

    With --forward, the same bytes and webhook headers go to a local URL, and the sender gets the answer from there: so
    retries can be tried. With --endpoint, the API sends what happens here until you stop.
    """
    if options["endpoint"] and secret:
        raise click.UsageError("--endpoint makes a secret of its own: give no --secret (AGORA_WEBHOOK_SECRET)")
    if options["types"] and not options["endpoint"]:
        raise click.UsageError("--type is for --endpoint")
    target = _target(options["forward"])
    with receiver(secret, port, target) as here:
        unverified = secret is None and not options["endpoint"]
        click.echo(f"listening on {here.url}" + (" (no --secret: nothing is verified)" if unverified else ""), err=True)
        with registered(client(ctx), here, options["types"]) if options["endpoint"] else nullcontext():
            return _print_all(here, count, as_json=options["as_json"])


def _target(url: str | None) -> Target | None:
    try:
        return Target.of(url) if url else None
    except Invalid as error:
        raise click.UsageError(str(error)) from None


def _print_all(here: Receiver, count: int | None, *, as_json: bool) -> int:
    seen = refused = 0
    while count is None or seen < count:
        found = here.received.get()
        seen += 1
        refused += found.refused is not None
        print(json_line(found) if as_json else plain_line(found, verified=here.secret is not None), flush=True)
    return 1 if refused else 0


def json_line(found: Received) -> str:
    """One JSON line."""
    headers = {name.lower(): value for name, value in found.headers.items()}
    said = found.forwarded
    passed = None if said is None else {"status": said.status, "error": said.error, "ms": said.milliseconds}
    told = {"id": headers.get("webhook-id"), "refused": found.refused, "event": found.event}
    return json.dumps(told if passed is None else {**told, "forwarded": passed})


def plain_line(found: Received, *, verified: bool) -> str:
    """One line for people."""
    headers = {name.lower(): value for name, value in found.headers.items()}
    state = f"REFUSED: {found.refused}" if found.refused else ("verified" if verified else "not verified")
    event = found.event
    job_id = event.get("data", {}).get("job_id", "")
    line = f"{state}  {event.get('type', '?')}  {headers.get('webhook-id', '?')}  {job_id}"
    said = found.forwarded
    if said is None:
        return line
    return f"{line}  -> {said.status}" + (f": {said.error}" if said.error else f" in {said.milliseconds} ms")
