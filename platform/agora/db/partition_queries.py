"""SQL about partitions."""

from psycopg import sql
from sqlalchemy import text
from sqlalchemy.orm import Session


def create_partition(session: Session, *, table: str, name: str, bounds: tuple[str, str]) -> bool:
    """Create one range partition unless it exists or the default partition already holds rows of its range."""
    exists = session.scalar(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": name})
    if exists or _default_holds(session, table=table, bounds=bounds):
        return False
    # DDL takes no bound parameters: identifiers and literals are quoted by psycopg.
    statement = sql.SQL("CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ({low}) TO ({high})").format(
        name=sql.Identifier(name), table=sql.Identifier(table), low=sql.Literal(bounds[0]), high=sql.Literal(bounds[1])
    )
    session.connection().exec_driver_sql(statement.as_string(None))
    return True


def _default_holds(session: Session, *, table: str, bounds: tuple[str, str]) -> bool:
    statement = sql.SQL("SELECT EXISTS (SELECT FROM {default} WHERE id >= {low} AND id < {high})").format(
        default=sql.Identifier(f"{table}_default"), low=sql.Literal(bounds[0]), high=sql.Literal(bounds[1])
    )
    return bool(session.connection().exec_driver_sql(statement.as_string(None)).scalar())
