"""Files."""

import sys
from pathlib import Path

import click

from agora.cli.common import client, json_option, print_json


@click.group("files")
def files_command() -> None:
    """Upload and download files."""


@files_command.command("put")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@click.pass_context
def put(ctx: click.Context, path: Path, as_json: bool) -> None:
    """Upload a file and print its id."""
    stored = client(ctx).upload(path)
    if as_json:
        print_json(stored)
    else:
        print(stored["id"])


@files_command.command("get")
@click.argument("file_id")
@click.option("--out", type=click.Path(path_type=Path), help="Default: standard output.")
@click.pass_context
def get(ctx: click.Context, file_id: str, out: Path | None) -> None:
    """Download a file."""
    data = client(ctx).download(file_id)
    if out is None:
        sys.stdout.buffer.write(data)
    else:
        out.write_bytes(data)
