"""agora tiers: what the teams of each tier may have, for the operator: works on the auth database, not over the API."""

from typing import Any

import click

from agora.cli.common import act_as_operator, json_option, print_json, print_rows

UNLIMITED = "unlimited"


class Amount(click.ParamType[str]):
    """A whole number, or `unlimited`."""

    name = "number|unlimited"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number as text; `unlimited` stays."""
        if value != UNLIMITED and not (isinstance(value, str) and value.isdecimal()):
            self.fail(f"{value!r} is neither a whole number nor `{UNLIMITED}`", param, ctx)
        return value


AMOUNTS = (
    click.option("--projects", type=Amount(), help="Projects."),
    click.option("--members", type=Amount(), help="Members, with those who are invited."),
    click.option("--jobs-per-day", type=Amount(), help="Jobs a day (UTC)."),
    click.option("--requests-per-minute", type=Amount(), help="Requests a minute, of all its keys and users together."),
    click.option("--storage-bytes", type=Amount(), help="Bytes of its files."),
)


def amounts(command: Any) -> Any:
    """Options of a command that sets quotas."""
    for option in reversed(AMOUNTS):
        command = option(command)
    return command


def given(options: dict[str, str | None]) -> dict[str, int | None]:
    """The amounts that were named."""
    return {name: None if value == UNLIMITED else int(value) for name, value in options.items() if value is not None}


def print_quotas(found: list[dict[str, Any]]) -> None:
    """Tiers or teams, one a line."""
    headings = [name.upper().replace("_", " ") for name in found[0]]
    rows = [tuple("-" if value is None else str(value) for value in one.values()) for one in found]
    print_rows(rows, tuple(headings))


@click.group("tiers")
@click.pass_context
def tiers_command(ctx: click.Context) -> None:
    """List and set what teams of a tier may have. Needs AUTH_DATABASE_URL, and REDIS_URL to count at once."""
    act_as_operator(ctx)


@tiers_command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List tiers; `-` means no limit."""
    from agora.quotas import tiers  # noqa: PLC0415

    found = [tiers.as_json(one) for one in tiers.list_tiers()]
    if as_json:
        print_json(found)
    else:
        print_quotas(found)


@tiers_command.command("set")
@click.argument("tier")
@amounts
@json_option
def set_(tier: str, as_json: bool, **options: str | None) -> None:
    """Set what TIER allows, or make a new one; what is not named stays. It counts from the next request on."""
    from agora.quotas import tiers  # noqa: PLC0415

    made = tiers.as_json(tiers.set_tier(tier, given(options)))
    if as_json:
        print_json(made)
    else:
        print_quotas([made])
