"""users: accounts of people, for the operator: it works on the auth database, not over the API."""

import click

from agora.cli.common import act_as_operator, json_option, print_json, print_rows


@click.group("users")
@click.pass_context
def users_command(ctx: click.Context) -> None:
    """Make, list, disable and enable accounts. Needs AUTH_DATABASE_URL."""
    act_as_operator(ctx)


@users_command.command("create")
@click.argument("email")
@click.option("--name", default="", help="What they are called.")
@click.option("--team", metavar="HANDLE", help="A team they are to be a member of; made if there is none.")
@click.option("--role", type=click.Choice(["owner", "lead", "developer", "viewer"]), default="owner", show_default=True)
@click.password_option(help="Asked for, without being shown, when it is left out.")
@json_option
def create(email: str, name: str, team: str | None, role: str, password: str, as_json: bool) -> None:
    """Make an account whose address counts as confirmed."""
    from agora.identity import operators  # noqa: PLC0415
    from agora.identity.roles import Role  # noqa: PLC0415

    made = operators.create_user(email, password, name=name, team=team, role=Role(role))
    if as_json:
        print_json({"id": made.id, "email": made.email})
    else:
        print(f"{made.id}  {made.email}")


@users_command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List accounts."""
    from agora.identity import operators  # noqa: PLC0415

    found = operators.list_users()
    if as_json:
        print_json(
            [{"id": one.id, "email": one.email, "name": one.name, "disabled": bool(one.disabled_at)} for one in found]
        )
        return
    rows = [(one.id, one.email, one.name or "-", _state(one.verified_at, one.disabled_at)) for one in found]
    print_rows(rows, ("USER", "EMAIL", "NAME", "STATE"))


def _state(verified_at: object, disabled_at: object) -> str:
    if disabled_at is not None:
        return "disabled"
    return "active" if verified_at is not None else "unconfirmed"


@users_command.command("disable")
@click.argument("email")
def disable(email: str) -> None:
    """Let somebody in no more; every session of theirs ends."""
    from agora.identity import operators  # noqa: PLC0415

    operators.set_disabled(email, disabled=True)
    print(f"{email}  disabled")


@users_command.command("enable")
@click.argument("email")
def enable(email: str) -> None:
    """Let somebody in again."""
    from agora.identity import operators  # noqa: PLC0415

    operators.set_disabled(email, disabled=False)
    print(f"{email}  enabled")


@users_command.command("remove-second-factor")
@click.argument("email")
def remove_second_factor(email: str) -> None:
    """Take the second factor of somebody away whose device is lost; every session of theirs ends."""
    from agora.identity import operators  # noqa: PLC0415

    operators.remove_second_factor(email)
    print(f"{email}  has no second factor any more")


@users_command.command("rotate-key")
def rotate_key() -> None:
    """Make a new key that signs access tokens, from a day on."""
    from agora.identity import access_tokens  # noqa: PLC0415

    print(f"{access_tokens.rotate()}  signs from tomorrow on")
