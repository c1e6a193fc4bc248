"""Erase all of one team, in slices: every table of both databases that has rows of teams, and its files.

Nothing but the rows themselves says how far it got. So it may be killed at any point and is simply begun again, and a
table that nobody thought of here is erased like every other.
"""

import hashlib
from collections.abc import Callable
from functools import partial

from psycopg.errors import DeadlockDetected
from sqlalchemy.exc import IntegrityError, OperationalError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_fixed

from agora.audit import service as audit
from agora.audit.acting import PLATFORM
from agora.caching.generations import changing, team_tag
from agora.db.engines import Database
from agora.db.session import transaction
from agora.errors import Conflict, NotFound
from agora.files import store
from agora.identity import administrators, key_rights
from agora.teams import queries
from agora.teams.queries import Table
from agora.teams.service import find_team

SLICE = 1_000
MOST_PASSES = 10
FOLDERS = ("files", "values")

Say = Callable[[str, int], None]
"""Told of every slice: the table, and how many rows went."""


class StillWritten(Conflict):
    """Something still writes for the team."""


def erase_team(name: str, *, despite_holds: bool = False, say: Say = lambda *_: None) -> dict[str, int]:
    """Erase the team of this name or id; returns how many rows of each table went, over all tries.

    Its keys are revoked first. What its workers are running comes to nothing, as their steps are gone. Broker messages
    that name them are ignored. What remains is a row that an erasure took place, with a digest of the team's id.

    Raises:
        NotFound: there is no such team, and none that is half erased.
        Conflict: a legal hold is in force, unless ``despite_holds``.
        StillWritten: new rows keep coming; try again when whoever writes them has stopped.
    """
    team_id, team_name = _find(name)
    with transaction() as session:
        held = queries.count_holds(session, team_id=team_id)
        if held and not despite_holds:
            raise Conflict(f"{held} legal holds of team {team_name} are in force; release them first")
        queries.begin_erasure(session, team_id=team_id, name=team_name)
    with changing(team_tag(team_id)), transaction("auth") as session:
        queries.revoke_keys(session, team_id=team_id)
    for _ in range(MOST_PASSES):
        gone = _erase_tables("main", team_id, say)
        gone += sum(store.remove_all(f"{folder}/{team_id}") for folder in FOLDERS)
        if not gone:
            break
    else:
        raise StillWritten(f"team {team_name} still gets new rows after {MOST_PASSES} passes")
    _erase_tables("auth", team_id, say)
    digest = hashlib.sha256(team_id.encode()).hexdigest()
    _erase_team_itself(team_id, digest, despite_holds=despite_holds)
    with transaction() as session:
        return queries.finish_erasure(session, team_id=team_id, digest=digest)


def _find(name: str) -> tuple[str, str]:
    try:
        return find_team(name)
    except NotFound:
        with transaction() as session:
            begun = queries.find_erasure(session, team_id=name)
        if begun is None:
            raise
        return begun, name


def _erase_tables(database: Database, team_id: str, say: Say) -> int:
    """One pass over every table; how many rows went."""
    with transaction(database) as session:
        tables = queries.list_tables(session, team_id=team_id)
    if database == "main":
        tables.extend(queries.LENT)
    if database == "auth":
        tables = [table for table in tables if table.name not in queries.WITH_TEAM]
    return sum(_erase_table(database, table, team_id, say) for table in tables)


def _erase_team_itself(team_id: str, digest: str, *, despite_holds: bool) -> None:
    """Its row, with members and invitations; of a user's own team, the user: nothing is left for them to be in.

    Keys that this user made in other teams are revoked, and their open invitations into these, as when they leave.

    Raises Conflict: that user is the last owner of another team, or the last super administrator.
    """
    with transaction("auth") as session:
        user_id = queries.find_user_of(session, team_id=team_id)
    tags = administrators.tags_of(user_id) if user_id is not None else ()
    try:
        with changing(team_tag(team_id), *tags), transaction("auth") as session:
            if user_id is not None:
                key_rights.end_of_user(session, user_id)
            gone = queries.delete_team(session, team_id=team_id)
            if gone:
                told = {"despite_holds": despite_holds}
                audit.record(session, "team.erased", digest, team_id=PLATFORM, after=told)
    except IntegrityError as error:
        if "must keep a super administrator" in str(error.orig):
            raise Conflict("the team's user is the last super administrator; make somebody else one first") from None
        if "must keep an owner" not in str(error.orig):
            raise
        raise Conflict("the team's user is the last owner of another team; make somebody else one first") from None
    if gone:
        with transaction() as session:
            queries.count_erased(session, team_id=team_id, name="teams", count=gone)


def _erase_table(database: Database, table: Table, team_id: str, say: Say) -> int:
    total, after = 0, ""
    while True:
        gone, following = _surely(partial(_erase_slice, database, table, team_id, after))
        total += gone
        if gone:
            say(table.name, gone)
        if following is None:
            return total
        after = following


def _erase_slice(database: Database, table: Table, team_id: str, after: str) -> tuple[int, str | None]:
    with transaction(database) as session:
        gone, following = queries.delete_slice(session, table, team_id=team_id, after=after, slice_=SLICE)
        if gone and database == "main":
            queries.count_erased(session, team_id=team_id, name=table.name, count=gone)
    if gone and database == "auth":
        with transaction() as session:
            queries.count_erased(session, team_id=team_id, name=table.name, count=gone)
    return gone, following


def _surely(slice_: Callable[[], tuple[int, str | None]]) -> tuple[int, str | None]:
    """Workers lock the same rows in an order of their own: whoever loses goes again."""

    def lost(error: BaseException) -> bool:
        return isinstance(error, OperationalError) and isinstance(error.orig, DeadlockDetected)

    return Retrying(retry=retry_if_exception(lost), stop=stop_after_attempt(10), wait=wait_fixed(0.1), reraise=True)(
        slice_
    )
