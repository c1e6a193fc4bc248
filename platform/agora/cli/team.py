"""agora team: export and erase all of one team. These talk to the databases and the file store, not to the API."""

from pathlib import Path

import click

from agora.cli.common import act_as_operator, json_option, print_json
from agora.cli.tiers import amounts, given, print_quotas


@click.group("team")
@click.pass_context
def team_command(ctx: click.Context) -> None:
    """Export or erase all of one team, or put it into a tier (DATABASE_URL, AUTH_DATABASE_URL, AGORA_FILES_URL)."""
    act_as_operator(ctx)


@team_command.command("export")
@click.argument("team")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def export(team: str, folder: Path, as_json: bool) -> None:
    """Write all of TEAM (name or id) into the new FOLDER."""
    from agora.teams.export import DATABASES, export_team  # noqa: PLC0415

    manifest = export_team(team, folder)
    if as_json:
        print_json(manifest)
        return
    rows = sum(table["rows"] for database in DATABASES for table in manifest[database].values())
    click.echo(f"{folder}: {rows:,} rows, {len(manifest['files']):,} files; left out {', '.join(manifest['left_out'])}")


@team_command.command("erase")
@click.argument("team")
@click.option("--yes", is_flag=True, help="Do it: it cannot be undone.")
@click.option("--despite-holds", is_flag=True, help="Erase also what legal holds keep.")
@json_option
def erase(team: str, yes: bool, despite_holds: bool, as_json: bool) -> None:
    """Erase all of TEAM (name or id): its keys, jobs, files, everything. Begun again, it goes on where it was ended."""
    from agora.teams.erase import erase_team  # noqa: PLC0415

    if not yes:
        raise click.UsageError(f"erasing team {team} cannot be undone; say --yes")
    removed = erase_team(team, despite_holds=despite_holds)
    if as_json:
        print_json(removed)
        return
    for name, count in sorted(removed.items()):
        click.echo(f"{name:<24} {count:>10,}")
    click.echo(f"team {team} is erased")


@team_command.command("tier")
@click.argument("team")
@click.argument("tier", required=False)
@amounts
@click.option("--as-tier", is_flag=True, help="Nothing is otherwise for it any more.")
@json_option
def tier_(team: str, tier: str | None, as_tier: bool, as_json: bool, **options: str | None) -> None:
    """Put TEAM (name or id) into TIER, or show what it may have. Amounts are for this team alone, beside its tier."""
    from agora.quotas import tiers  # noqa: PLC0415

    amounts_given = given(options)
    found = tiers.as_json(tiers.move_team(team, tier, amounts_given, keep=not as_tier))
    if as_json:
        print_json(found)
    else:
        print_quotas([found])
