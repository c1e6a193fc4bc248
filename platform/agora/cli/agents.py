"""agora agents: list them, look at one, make a new package."""

from pathlib import Path

import click

from agora.cli.common import client, json_option, print_json, print_rows


class AgentsGroup(click.Group):
    """``agora agents NAME`` shows the agent of that name, unless it is the name of a command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take a word that names no command as the name of an agent."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            return "show", show, args
        return super().resolve_command(ctx, args)


@click.group("agents", cls=AgentsGroup, invoke_without_command=True, subcommand_metavar="[NAME | COMMAND …]")
@json_option
@click.pass_context
def agents_command(ctx: click.Context, as_json: bool) -> int:
    """List agents and their actions, or those of one agent; make a new one."""
    return 0 if ctx.invoked_subcommand else _list(ctx, None, as_json=as_json)


@agents_command.command("show")
@click.argument("name")
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> int:
    """Show the actions of one agent."""
    return _list(ctx, name, as_json=as_json)


@agents_command.command("new")
@click.argument("name")
@click.option(
    "--into", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="The folder to make it in."
)
def new(name: str, into: Path) -> int:
    """Make the agent package NAME: an agent, its test, its pyproject."""
    from agora.scaffold import new_package  # noqa: PLC0415

    for path in new_package(name, into):
        click.echo(path)
    click.echo(f"next: cd {into / name} && python -m pytest && agora dev .")
    return 0


def _list(ctx: click.Context, name: str | None, *, as_json: bool) -> int:
    found = client(ctx).agents(name)
    if as_json:
        print_json(found)
        return 0
    rows = [
        (
            f"{one['agent']}.{one['action']}",
            str(one["version"]),
            ", ".join(f"{queue}: {count}" for queue, count in sorted(one["workers"].items())),
            " > ".join(step["name"] for step in one["steps"]),
        )
        for one in found
    ]
    print_rows(rows, ("ACTION", "VERSION", "WORKERS", "STEPS"))
    return 0
