"""The databases: migrate, dump, restore. These talk to Postgres, not to the API."""

from pathlib import Path

import click

from agora.cli.common import act_as_operator, json_option, print_json


def _urls() -> dict[str, str]:
    from agora.errors import SettingsError  # noqa: PLC0415
    from agora.settings import get_settings  # noqa: PLC0415

    settings = get_settings()
    urls = {
        "auth": settings.auth_database_direct_url or settings.auth_database_url,
        "main": settings.database_direct_url or settings.database_url,
    }
    for name, variable in (("auth", "AUTH_DATABASE_URL"), ("main", "DATABASE_URL")):
        if not urls[name]:
            raise SettingsError(f"{variable}: must be set")
    return urls


@click.group("db")
def db_command() -> None:
    """Migrate, dump and restore the databases (DATABASE_URL, AUTH_DATABASE_URL)."""


@db_command.command("upgrade")
def upgrade() -> None:
    """Bring both databases to this version's migrations."""
    from agora.db import engines, migrate  # noqa: PLC0415
    from agora.settings import get_settings  # noqa: PLC0415

    for name, url in _urls().items():
        migrate.upgrade(name, url)  # type: ignore[arg-type]
        click.echo(f"{name}: at migration {migrate.current(name, url)}")  # type: ignore[arg-type]
    engines.set_defaults(get_settings())


@db_command.command("dump")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def dump_(file: Path, as_json: bool) -> None:
    """Write both databases into FILE."""
    from agora.runtime import dump  # noqa: PLC0415

    manifest = dump.dump(_urls(), file)  # type: ignore[arg-type]
    if as_json:
        print_json(manifest)
    else:
        rows = sum(sum(manifest[name]["rows"].values()) for name in dump.DATABASES)
        click.echo(f"{file}: {file.stat().st_size:,} bytes, {rows:,} rows")


@db_command.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace what the databases hold.")
@json_option
def restore_(file: Path, force: bool, as_json: bool) -> None:
    """Restore both databases from FILE, and migrate them to this version."""
    from agora.runtime import dump  # noqa: PLC0415

    manifest = dump.restore(_urls(), file, force=force)  # type: ignore[arg-type]
    if as_json:
        print_json(manifest)
    else:
        click.echo(f"restored what was dumped at {manifest['made_at']}")


@db_command.command("rekey")
@json_option
@click.pass_context
def rekey_(ctx: click.Context, as_json: bool) -> None:
    """Encrypt secrets at rest anew with AGORA_SECRET_KEY; AGORA_SECRET_KEY_OLD still reads what it finds.

    Give every process the new key and the old one first, run this, then take the old one away.
    """
    from agora.identity import rekey  # noqa: PLC0415
    from agora.webhooks import keys  # noqa: PLC0415

    act_as_operator(ctx)
    changed = keys.rekey() | rekey.rekey()
    if as_json:
        print_json(changed)
    else:
        click.echo(
            f"encrypted anew: {changed['keys']} signing keys of webhooks, headers of {changed['headers']} endpoints,"
            f" {changed['second_factors']} second factors, {changed['signing_keys']} signing keys of access tokens"
        )
