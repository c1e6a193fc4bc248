"""The command tree. A command's module is imported when the command is used."""

import importlib
from pathlib import Path
from typing import Any

import click

COMMANDS = {
    "up": ("agora.cli.platform", "start the whole platform on this machine"),
    "dev": ("agora.cli.dev", "the same, with workers that restart when an agent's files change"),
    "demo": ("agora.cli.demo", "run the main job on a document, with everything embedded"),
    "submit": ("agora.cli.jobs", "submit a job"),
    "jobs": ("agora.cli.jobs", "list jobs, or show one"),
    "watch": ("agora.cli.jobs", "follow a job until it ends"),
    "cancel": ("agora.cli.jobs", "cancel a job"),
    "retry": ("agora.cli.lineage", "retry a job from where it ended"),
    "fork": ("agora.cli.lineage", "begin a new job at a step of another one"),
    "move": ("agora.cli.move", "move open jobs to another version of their action"),
    "approve": ("agora.cli.approve", "let a job go on that is over its budget"),
    "answer": ("agora.cli.jobs", "answer what a job asks"),
    "schedules": ("agora.cli.schedules", "jobs by cron, at an interval, or once"),
    "bulk": ("agora.cli.bulk", "cancel, retry or fork every job that a filter finds"),
    "batch": ("agora.cli.batches", "submit, watch and cancel many jobs as one"),
    "agents": ("agora.cli.agents", "list agents and their actions, or make a new one"),
    "queues": ("agora.cli.order", "list, pause and resume queues"),
    "limits": ("agora.cli.order", "list, set and lift limits"),
    "files": ("agora.cli.files", "upload and download files"),
    "event-types": ("agora.cli.event_types", "list the types of events, or show one"),
    "webhooks": ("agora.cli.webhooks", "endpoints, what they got, sending it again, signing keys"),
    "listen": ("agora.cli.listen", "receive webhooks, verify and print them"),
    "keys": ("agora.cli.keys", "make, list and revoke API keys"),
    "audit": ("agora.cli.audit", "who did what; check that nothing was changed afterwards"),
    "deprecations": ("agora.cli.deprecations", "what of the API is deprecated, and which keys use it"),
    "users": ("agora.cli.users", "make, list, disable and enable accounts of people"),
    "admins": ("agora.cli.admins", "make and list administrators of the platform"),
    "holds": ("agora.cli.holds", "keep jobs from being removed"),
    "team": ("agora.cli.team", "export or erase all of one team, or put it into a tier"),
    "tiers": ("agora.cli.tiers", "list and set what the teams of a tier may have"),
    "db": ("agora.cli.db", "migrate, dump and restore the databases"),
    "dispatcher": ("agora.cli.platform", "run a dispatcher"),
    "flower": ("agora.cli.platform", "run Flower with its password"),
    "completion": ("agora.cli.platform", "print the shell's completion script"),
}


class LazyGroup(click.Group):
    """Knows every command by name; imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which people meet them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(
            importlib.import_module(COMMANDS[cmd_name][0]), f"{cmd_name.replace('-', '_')}_command"
        )
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="AGORA_API_URL", help="The API; default: the platform of the data directory.")
@click.option("--key", envvar="AGORA_API_KEY", help="An API key; default: the development key of that platform.")
@click.option(
    "--data-dir", envvar="AGORA_DATA_DIR", type=click.Path(path_type=Path), default=Path(".agora"), show_default=True
)
@click.version_option(package_name="agora-platform")
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Durable agent jobs: submit, watch, and be called back."""
    ctx.obj = options
