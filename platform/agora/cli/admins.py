"""admins: administrators of the platform, for the operator: it works on the auth database, not over the API."""

import click

from agora.cli.common import act_as_operator, json_option, print_json, print_rows

ROLE = click.Choice(["super", "billing", "support", "analytics"])


@click.group("admins")
@click.pass_context
def admins_command(ctx: click.Context) -> None:
    """Make and list administrators of the platform. Needs AUTH_DATABASE_URL."""
    act_as_operator(ctx)


@admins_command.command("grant")
@click.argument("email")
@click.argument("role", type=ROLE)
def grant(email: str, role: str) -> None:
    """Give somebody who has an account a system role. It counts in sessions with a second factor."""
    from agora.identity import administrators  # noqa: PLC0415
    from agora.identity.roles import SystemRole  # noqa: PLC0415

    given = administrators.grant(email, SystemRole(role), by=None)
    hint = "" if given.second_factor else "; they must set a second factor up before it counts"
    print(f"{given.email}  {given.role}{hint}")


@admins_command.command("revoke")
@click.argument("email")
@click.argument("role", type=ROLE)
def revoke(email: str, role: str) -> None:
    """Take a system role away. The last super administrator stays: make another one first."""
    from agora.identity import administrators  # noqa: PLC0415
    from agora.identity.roles import SystemRole  # noqa: PLC0415

    administrators.revoke_of(email, SystemRole(role))
    print(f"{email}  is not {role} any more")


@admins_command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List who has which system role."""
    from agora.identity import administrators  # noqa: PLC0415

    found = administrators.list_admins()
    if as_json:
        print_json(
            [
                {"user_id": one.user_id, "email": one.email, "role": one.role, "second_factor": one.second_factor}
                for one in found
            ]
        )
        return
    rows = [(one.email, one.role, "yes" if one.second_factor else "no", one.granted_by or "operator") for one in found]
    print_rows(rows, ("EMAIL", "ROLE", "SECOND FACTOR", "GRANTED BY"))
