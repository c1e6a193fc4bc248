"""What commands share: the client they talk through, and how they print."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from agora.client import Agora, Answer, local

TELL_SECONDS = 5.0
Command = TypeVar("Command", bound=Callable[..., Any])


def client(ctx: click.Context) -> Agora:
    """The client of --url and --key, or of the platform that runs on the data directory."""
    options = ctx.find_root().obj
    url, key = options["url"], options["key"]
    if not (url and key):
        try:
            here = local(options["data_dir"])
        except FileNotFoundError as error:
            raise click.ClickException(f"{error}, or give --url and --key") from None
        url, key = url or here.base_url, key or here.key
    try:
        return Agora(url, key)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def act_as_operator(ctx: click.Context) -> None:
    """Let the audit log know that whoever runs this command does what it does, and every process know what changed."""
    from agora.audit import acting  # noqa: PLC0415

    ctx.with_resource(acting.acting(acting.operator()))
    ctx.call_on_close(_tell_every_process)


def _tell_every_process() -> None:
    from agora.caching import generations  # noqa: PLC0415

    if not generations.settle(TELL_SECONDS):
        click.echo(
            "it is done, but Redis (REDIS_URL) cannot be reached: processes that can may go by what they remember for "
            "half a minute more",
            err=True,
        )  # fmt: skip


def json_option(function: Command) -> Command:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def if_match_option(function: Command) -> Command:
    """Add --if-match."""
    text = "Only if it still has this etag, as `show` told it."
    return click.option("--if-match", metavar="ETAG", help=text)(function)


def print_etag(found: dict[str, Any]) -> None:
    """The state of an object that was read, for --if-match."""
    if isinstance(found, Answer) and found.etag:
        print(f"etag: {found.etag}")


def print_json(value: Any) -> None:
    """One JSON document on a line of its own; indented for people."""
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False), flush=True)


def print_rows(rows: Sequence[tuple[str, ...]], head: tuple[str, ...]) -> None:
    """A plain table: columns as wide as their content."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def metadata_of(pairs: Sequence[str]) -> dict[str, Any]:
    """A filter by metadata from ``key:value`` texts and JSON objects."""
    found: dict[str, Any] = {}
    for text in pairs:
        if text.startswith("{"):
            found |= read_json(text, "metadata")
            continue
        key, colon, value = text.partition(":")
        if not colon or not key:
            raise click.UsageError(f"metadata must be KEY:VALUE or a JSON object, not {text!r}")
        found[key] = value
    return found


def read_json(text: str, what: str) -> Any:
    """JSON given as text, ``@file`` or ``-`` for standard input."""
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        text = Path(text[1:]).read_text()
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{what} is not JSON: {error}") from None
