"""SQL about everything that belongs to one team, table by table, as the database itself knows its tables.

Tables come from Postgres' catalogue and not from a list, so that none can be forgotten. psycopg quotes identifiers.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from sqlalchemy import text
from sqlalchemy.orm import Session

from agora.audit.queries import allow_removal

SECRET = {("api_keys", "hash"), ("webhook_keys", "sealed"), ("webhook_portal_links", "hash")}
"""Columns that no export shows."""
CASCADE_FIRST = ("jobs", "projects")
"""Deleting their rows deletes those of other tables, by index."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table with rows of teams: its key, how a team's rows are found in it, and whether by an index."""

    name: str
    key: tuple[str, ...]
    owner: str = "team_id"
    through: str | None = None
    """``owner`` is a column of this table, and refers to the ``id`` of that one, whose rows have a team."""
    indexed: bool = True

    def where(self, team_id: str) -> sql.Composable:
        """The condition for rows of a team."""
        given = sql.Literal(team_id)
        if self.through is None:
            return sql.SQL("{} = {}").format(sql.Identifier(self.owner), given)
        return sql.SQL("{} IN (SELECT id FROM {} WHERE team_id = {})").format(
            sql.Identifier(self.owner), sql.Identifier(self.through), given
        )


THROUGH: Mapping[str, tuple[str, str]] = {"step_notes": ("step_id", "steps")}
"""Tables of teams that have no ``team_id``: the column, and the table that it leads to."""
OWN: Mapping[str, str] = {"teams": "id"}
"""Tables whose own id is the team's."""
LENT = (Table(name="project_shares", key=("project_id", "with_team_id"), owner="with_team_id"),)
"""Rows of other teams' that name this one: they are erased with it, and no part of an export."""
NOBODYS = frozenset(
    {
        "agent_versions", "alembic_version", "audit_of_users", "erasures", "external_identities", "mails", "oidc_flows",
        "one_time_tokens", "queues", "recovery_codes", "removals", "sessions", "signing_keys", "spent_tokens",
        "system_roles", "tiers", "users", "workers",
    }
)  # fmt: skip
"""Tables without rows of teams. The auth database has sessions of users, the main one those of projects."""

GUARDED = frozenset({"audit_entries", "audit_heads", "audit_outbox"})
"""Tables that lose rows only in a transaction that says so."""

WITH_TEAM = frozenset({"invitations", "members", "teams"})
"""Tables of the auth database whose rows go with that of the team: a team without an owner cannot be."""

TABLES = text("""
SELECT c.relname AS name,
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'team_id' AND NOT a.attisdropped)
       AS has_team,
       EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
               WHERE i.indrelid = c.oid AND a.attname = 'team_id' AND i.indpred IS NULL) AS indexed,
       ARRAY(SELECT a.attname::text
             FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
             WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY k.place) AS key
FROM pg_class c
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
ORDER BY c.relname
""")


def list_tables(session: Session, *, team_id: str) -> list[Table]:
    """Every table with rows of teams, in the order in which they are to be erased."""
    del team_id  # it is the same for all
    found = []
    for row in session.execute(TABLES):
        if row.name in THROUGH:
            owner, through = THROUGH[row.name]
            found.append(Table(name=row.name, key=tuple(row.key), owner=owner, through=through))
        elif row.has_team or row.name in OWN:
            owner = OWN.get(row.name, "team_id")
            found.append(Table(name=row.name, key=tuple(row.key), owner=owner, indexed=row.indexed or row.name in OWN))
    places = {name: place for place, name in enumerate(CASCADE_FIRST)}
    return sorted(found, key=lambda table: (places.get(table.name, len(places)), table.name == "teams", table.name))


def unknown_tables(session: Session, *, team_id: str) -> list[str]:
    """Tables that are neither a team's nor named in NOBODYS; there must be none."""
    known = {table.name for table in list_tables(session, team_id=team_id)} | NOBODYS
    return [row.name for row in session.execute(TABLES) if row.name not in known]


COLUMNS = text("""
SELECT column_name FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = :name ORDER BY ordinal_position
""")


def stream_rows(session: Session, table: Table, *, team_id: str) -> Iterator[bytes]:
    """The team's rows of a table in the order of its key, each a line of JSON; secrets are left out."""
    names = [
        name for name in session.execute(COLUMNS, {"name": table.name}).scalars() if (table.name, name) not in SECRET
    ]
    statement = sql.SQL(
        "COPY (SELECT row_to_json(r) FROM (SELECT {columns} FROM {table} WHERE {where} ORDER BY {key}) r) TO STDOUT"
        " (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')"
    ).format(
        columns=sql.SQL(", ").join(map(sql.Identifier, names)), table=sql.Identifier(table.name),
        where=table.where(team_id), key=sql.SQL(", ").join(map(sql.Identifier, table.key)),
    )  # fmt: skip
    connection: Any = session.connection().connection.driver_connection
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        rest = b""
        for chunk in copy:
            *lines, rest = (rest + bytes(chunk)).split(b"\n")
            yield from (line + b"\n" for line in lines)


def count_rows(session: Session, table: Table, *, team_id: str) -> int:
    """How many rows of a table are the team's."""
    statement = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(sql.Identifier(table.name), table.where(team_id))
    return int(session.connection().exec_driver_sql(statement.as_string(None)).scalar_one())


def delete_slice(session: Session, table: Table, *, team_id: str, after: str, slice_: int) -> tuple[int, str | None]:
    """Delete up to ``slice_`` of a team's rows; how many went, and where to go on (None: it was the end).

    A table without an index for teams is walked by its key, ``slice_`` rows of all teams at a time, from ``after``.
    """
    if table.name in GUARDED:
        allow_removal(session, before=None)
    parts = {
        "table": sql.Identifier(table.name), "where": table.where(team_id), "slice": sql.Literal(slice_),
        "key": sql.SQL(", ").join(map(sql.Identifier, table.key)), "after": sql.Literal(after),
    }  # fmt: skip
    if table.indexed or len(table.key) > 1:
        statement = sql.SQL(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {where} LIMIT {slice})"
        )
        gone = session.connection().exec_driver_sql(statement.format(**parts).as_string(None)).rowcount
        return gone, after if gone == slice_ else None
    statement = sql.SQL("""
        WITH seen AS (
            SELECT {key} AS key, {where} AS ours FROM {table} WHERE {key} > {after} ORDER BY {key} LIMIT {slice}
        ), gone AS (DELETE FROM {table} WHERE {key} IN (SELECT key FROM seen WHERE ours) RETURNING 1)
        SELECT (SELECT count(*) FROM gone) AS gone, (SELECT max(key) FROM seen) AS last
    """)
    row = session.connection().exec_driver_sql(statement.format(**parts).as_string(None)).one()
    return row.gone, row.last


BEGIN = text("""
INSERT INTO erasures (subject, team_name) VALUES (:team_id, :name)
ON CONFLICT (subject) DO UPDATE SET subject = excluded.subject
""")
COUNT = text("""
UPDATE erasures
SET removed = removed || jsonb_build_object(CAST(:name AS text), COALESCE((removed ->> :name)::bigint, 0) + :count)
WHERE subject = :team_id
RETURNING removed
""")
FINISH = text("""
UPDATE erasures SET subject = :digest, team_name = NULL, finished_at = now() WHERE subject = :team_id
RETURNING removed
""")
FIND = text("SELECT subject FROM erasures WHERE finished_at IS NULL AND (team_name = :name OR subject = :name)")
HOLDS = text("SELECT count(*) FROM holds WHERE team_id = :team_id AND released_at IS NULL")


def begin_erasure(session: Session, *, team_id: str, name: str) -> None:
    """Note that a team is being erased; a repeat changes nothing."""
    session.execute(BEGIN, {"team_id": team_id, "name": name})


def count_erased(session: Session, *, team_id: str, name: str, count: int) -> None:
    """Add to what was erased of a table, in the transaction that erased it."""
    session.execute(COUNT, {"team_id": team_id, "name": name, "count": count})


def finish_erasure(session: Session, *, team_id: str, digest: str) -> dict[str, int]:
    """Note the end; what stays of the team is a digest of its id. Returns what was erased, by table."""
    found: Any = session.execute(FINISH, {"team_id": team_id, "digest": digest}).scalar_one()
    return found if isinstance(found, dict) else json.loads(found)


def find_erasure(session: Session, *, team_id: str) -> str | None:
    """The id of a team whose erasure has begun and not ended, by its id or its name."""
    return session.execute(FIND, {"name": team_id}).scalar()


def count_holds(session: Session, *, team_id: str) -> int:
    """How many legal holds of the team are in force."""
    return int(session.execute(HOLDS, {"team_id": team_id}).scalar_one())


REVOKE = text("UPDATE api_keys SET revoked_at = COALESCE(revoked_at, now()) WHERE team_id = :team_id")


def revoke_keys(session: Session, *, team_id: str) -> None:
    """Revoke every key of the team, in the auth database."""
    session.execute(REVOKE, {"team_id": team_id})


USER_OF = text("SELECT personal_of FROM teams WHERE id = :team_id")


def find_user_of(session: Session, *, team_id: str) -> str | None:
    """The user whose own team it is."""
    return session.scalar(USER_OF, {"team_id": team_id})  # type: ignore[no-any-return]


DELETE_USER = text("""
DELETE FROM users u USING teams t WHERE t.id = :team_id AND t.personal_of = u.id
""")
DELETE_TEAM = text("DELETE FROM teams WHERE id = :team_id")


def delete_team(session: Session, *, team_id: str) -> int:
    """Delete a team's own row, and the user whose own team it is; 1 if there was one."""
    of_user = session.execute(DELETE_USER, {"team_id": team_id}).rowcount  # type: ignore[attr-defined]
    return int(of_user or session.execute(DELETE_TEAM, {"team_id": team_id}).rowcount)  # type: ignore[attr-defined]


TEAM = text("SELECT id, name FROM teams WHERE id = :team_id OR handle = :team_id")


def find_team(session: Session, *, team_id: str) -> tuple[str, str] | None:
    """Id and name of the team with this id or name, in the auth database."""
    row = session.execute(TEAM, {"team_id": team_id}).one_or_none()
    return None if row is None else (row.id, row.name)
