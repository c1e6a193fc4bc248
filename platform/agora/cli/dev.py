"""agora dev: the platform, with workers that restart when an agent's files change."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agora.cli.platform import printer, run_platform

if TYPE_CHECKING:
    from agora.runtime.up import Platform

ALL_BUT_FLOWER = "web,worker,worker-io,webhooks,dispatcher"


@click.command("dev")
@click.argument("words", nargs=-1, metavar="[FOLDER | FILE.py | MODULE]…")
@click.option("--only", default=ALL_BUT_FLOWER, show_default=True, help="Names of the Procfile's processes.")
@click.pass_context
def dev_command(ctx: click.Context, words: tuple[str, ...], only: str) -> int:
    """Develop agents: start the platform, and restart its workers when a file of theirs changes.

    A FOLDER is one that `agora agents new` made, the current one if nothing is named. While the agents cannot be
    imported, the fault is shown and no worker runs.
    """
    from agora.runtime.dev import Reloader, find_targets, platform_environment  # noqa: PLC0415

    targets = find_targets(words, Path.cwd())
    say = printer()
    env = platform_environment(targets)

    def reload(platform: "Platform", stop: threading.Event) -> None:
        own = platform.processes
        Reloader(own, targets.watched, say=lambda line: say("dev", line)).run(stop)

    for place in targets.watched:
        click.echo(f"watching {place}")
    return run_platform(ctx, say=say, only=tuple(only.split(",")), env=env, meanwhile=reload)
