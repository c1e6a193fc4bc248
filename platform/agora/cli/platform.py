"""up, dispatcher, flower, completion."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

if TYPE_CHECKING:
    from agora.runtime.up import Platform

Say = Callable[[str, str], None]

COLOURS = ("cyan", "green", "yellow", "blue", "magenta", "red")


@click.command("up")
@click.option("--only", help="Names of the Procfile's processes, comma separated.")
@click.option("--quiet", is_flag=True, help="Do not print the processes' output; it is in the log files.")
@click.pass_context
def up_command(ctx: click.Context, only: str | None, quiet: bool) -> int:
    """Start the whole platform on this machine; Ctrl-C stops all of it."""
    return run_platform(ctx, only=tuple(only.split(",")) if only else (), say=printer(quiet=quiet))


def printer(*, quiet: bool = False) -> Say:
    """Print lines of the processes under their names, each in its colour; quiet: only that one has ended."""
    colours: dict[str, str] = {}

    def say(name: str, line: str) -> None:
        colour = colours.setdefault(name, COLOURS[len(colours) % len(COLOURS)])
        if not quiet or line.startswith("ended with code"):
            click.echo(f"{click.style(f'{name:<11}|', fg=colour)} {line}")

    return say


def run_platform(
    ctx: click.Context,
    *,
    say: Say,
    only: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    meanwhile: Callable[["Platform", threading.Event], object] = lambda _, stop: stop.wait(),
) -> int:
    """Start the platform, tell where it is, and stop it when ``meanwhile`` returns; Ctrl-C sets its event."""
    from agora.runtime.up import Platform, describe, moved_ports  # noqa: PLC0415

    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    data_dir: Path = ctx.find_root().obj["data_dir"]
    platform = Platform(data_dir=data_dir, say=say, only=only, env=dict(env or {}))
    click.echo(f"starting on {data_dir} …")
    with platform:
        for name, (wanted, used) in moved_ports(platform).items():
            click.echo(f"port {wanted} is taken: {name} listens on {used}")
        for label, value in describe(platform):
            click.echo(f"  {click.style(f'{label:<8}', bold=True)} {value}")
        click.echo("ready; Ctrl-C stops it")
        meanwhile(platform, stop)
        click.echo("stopping …")
    click.echo("stopped")
    return 0


@click.command("dispatcher")
def dispatcher_command() -> None:
    """Run a dispatcher; two may run at once."""
    from agora.dispatcher.loop import main  # noqa: PLC0415

    main()


@click.command("flower")
def flower_command() -> None:
    """Run Flower on loopback with its password (AGORA_FLOWER_PASSWORD)."""
    from agora.errors import SettingsError  # noqa: PLC0415
    from agora.settings import environment, get_settings  # noqa: PLC0415

    settings = get_settings()
    password = settings.flower_password.get_secret_value()
    if not password:
        raise SettingsError("AGORA_FLOWER_PASSWORD: must be set, Flower is never open")
    arguments = [
        "celery", "--app", "workers.celery", "flower", "--address=127.0.0.1", f"--port={settings.flower_port}",
        "--logging=warning",
    ]  # fmt: skip
    # The password goes through the environment: arguments are seen by every user of the machine.
    env = environment() | {"FLOWER_BASIC_AUTH": f"agora:{password}"}
    os.execvpe(arguments[0], arguments, env)  # noqa: S606  # becomes Flower, so that signals reach it


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell, to be sourced."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"no completion for {shell}")
    sys.stdout.write(kind(ctx.find_root().command, {}, "agora", "_AGORA_COMPLETE").source())
