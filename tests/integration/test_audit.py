"""The audit log in the databases: append-only, copied once, chained without forks, and what a check of it finds."""

import hashlib
import threading
from datetime import timedelta

import pytest
from psycopg.errors import CheckViolation
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from agora.audit import acting, chain, chain_queries, duties, queries, verify
from agora.audit import service as audit
from agora.audit.acting import PLATFORM, Actor, ActorKind
from agora.audit.models import EntryRow, HeadRow
from agora.cli import run
from agora.clock import now
from agora.db.session import transaction
from agora.errors import Invalid
from agora.identity import service as identity

pytestmark = pytest.mark.usefixtures("db")
ENTRIES, ROLES = 6, ("viewer", "developer", "lead")


def note(team_id="team_a", count=1, database="auth"):
    for number in range(count):
        with transaction(database) as session:
            before, after = {"role": "owner"}, {"role": ROLES[number % 3]}
            action = ("member.role_changed", before, after) if database == "auth" else ("job.cancelled", {}, {})
            audit.record(session, action[0], f"usr_{number}", team_id=team_id, before=action[1], after=action[2])


def auth(statement, *, allowed=True, **parameters):
    """What somebody does who has the database's password: triggers and all hold them up for one setting only."""
    with transaction("auth") as session:
        if allowed:
            session.execute(text("SET LOCAL session_replication_role = 'replica'"))
        found = session.execute(text(statement), parameters)
        return found.all() if found.returns_rows else found.rowcount


def chained(team_id="team_a"):
    note(team_id, ENTRIES)
    assert duties.chain_entries() == ENTRIES
    return verify.verify(team_id)


def rows(team_id="team_a"):
    return auth("SELECT id, seq, hash, at FROM audit_entries WHERE team_id = :id ORDER BY seq", id=team_id)


REFUSED = (
    "UPDATE audit_entries SET actor_name = 'x'", "UPDATE audit_entries SET seq = NULL, hash = NULL",
    "UPDATE audit_entries SET hash = decode(repeat('00', 32), 'hex')", "DELETE FROM audit_entries",
    "TRUNCATE audit_entries", "UPDATE audit_heads SET seq = 1", "DELETE FROM audit_heads", "TRUNCATE audit_heads",
    "UPDATE audit_heads SET hash = decode(repeat('00', 32), 'hex')",
)  # fmt: skip


def test_sql_that_changes_the_log_is_refused():
    chained()
    for statement in REFUSED:
        with pytest.raises(IntegrityError) as refused:
            auth(statement, allowed=False)
        assert isinstance(refused.value.orig, CheckViolation), statement
    assert verify.verify("team_a").fault is None


def test_chaining_may_set_the_place_and_nothing_else():
    note()
    with pytest.raises(IntegrityError):
        auth("UPDATE audit_entries SET seq = 1, hash = sha256('x'), address = '10.9.9.9'", allowed=False)


def test_retention_may_remove_what_is_old_only():
    chained()
    with pytest.raises(IntegrityError), transaction("auth") as session:
        queries.remove_entries(session, team_id="team_a", up_to=3, before=now() - timedelta(days=1))


def test_what_main_has_written_cannot_be_changed_either():
    note(database="main")
    for statement in ("UPDATE audit_outbox SET action = 'a.b'", "DELETE FROM audit_outbox", "TRUNCATE audit_outbox"):
        with pytest.raises(IntegrityError), transaction() as session:
            session.execute(text(statement))


def count(database, table):
    with transaction(database) as session:
        return session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()


def test_entries_of_main_are_copied_once_whenever_the_dispatcher_dies(monkeypatch):
    note(count=3, database="main")
    assert count("auth", "audit_entries") == 0
    forget = queries.forget_copied

    def die(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(queries, "forget_copied", die)  # between the two commits
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            duties.copy_entries()
        assert (count("auth", "audit_entries"), count("main", "audit_outbox")) == (3, 3)
    duties.chain_entries()  # which must not be undone by what comes again
    monkeypatch.setattr(queries, "forget_copied", forget)
    assert duties.copy_entries() == 3
    assert (count("auth", "audit_entries"), count("main", "audit_outbox")) == (3, 0)
    assert (duties.copy_entries(), verify.verify("team_a").entries) == (0, 3)


def test_entries_stay_in_main_while_auth_is_away(monkeypatch):
    note(count=2, database="main")

    def away(*_args):
        raise ConnectionError("auth is away")

    insert = queries.insert_copied
    monkeypatch.setattr(queries, "insert_copied", away)
    with pytest.raises(ConnectionError):
        duties.copy_entries()
    monkeypatch.setattr(queries, "insert_copied", insert)
    assert (count("auth", "audit_entries"), count("main", "audit_outbox")) == (0, 2)
    assert duties.copy_entries() == 2


def dispatch_until(done, errors):
    """What a dispatcher does, until nothing more comes."""
    try:
        while True:
            last = done.is_set()
            if not duties.copy_entries() + duties.chain_entries() and last and not count("main", "audit_outbox"):
                return
    except Exception as error:  # noqa: BLE001
        errors.append(error)


def test_two_dispatchers_copy_and_chain_at_once_without_a_fork(monkeypatch):
    monkeypatch.setattr(chain, "SLICE", 7)
    monkeypatch.setattr(duties, "SLICE", 5)
    teams, errors, done = [f"team_{number}" for number in range(3)], [], threading.Event()
    threads = [threading.Thread(target=dispatch_until, args=(done, errors)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for team_id in teams * 10:
        note(team_id, 2)
        note(team_id, 2, database="main")
    done.set()
    for thread in threads:
        thread.join(30)
    assert errors == []
    while duties.chain_entries():
        pass
    for team_id in teams:
        report = verify.verify(team_id)
        assert (report.fault, report.entries, report.seq, report.waiting) == (None, 40, 40, 0)


def test_a_team_is_chained_by_one_dispatcher_at_a_time():
    chained()
    note(count=2)
    with transaction("auth") as session:
        assert chain_queries.lock_head(session, team_id="team_a").seq == ENTRIES
        assert duties.chain_entries() == 0, "the other one has it"
        note("team_b")
        assert duties.chain_entries() == 1, "and nobody else waits for it"
    assert duties.chain_entries() == 2
    assert verify.verify("team_a").seq == ENTRIES + 2


def test_a_chain_is_what_the_documentation_says():
    """An independent reckoning, by docs/audit.md."""
    with transaction("auth") as session:
        who = Actor(kind=ActorKind.KEY, id="key_x", name='Zoë "z"\n', address="10.0.0.1", request_id="req_1")
        changed = {"before": {"name": "a", "scopes": ["*"]}, "after": {"name": "é", "scopes": ["*"], "overlap": 0.5}}
        audit.record(session, "key.rotated", "key_y", team_id="team_a", actor=who, **changed)
    duties.chain_entries()
    [(entry_id, seq, digest, at)] = rows()
    written = (
        '{"action":"key.rotated","actor_id":"key_x","actor_kind":"key","actor_name":"Zoë \\"z\\"\\n",'
        '"address":"10.0.0.1","after":{"name":"é","overlap":0.5},'
        f'"at":"{at:%Y-%m-%dT%H:%M:%S.%f}Z","before":{{"name":"a"}},"id":"{entry_id}",'
        '"object_id":"key_y","object_type":"key","request_id":"req_1","seq":1,"team_id":"team_a"}'
    )
    assert (seq, digest) == (1, hashlib.sha256(bytes(32) + written.encode()).digest())


ALTERED = "the entry is not what was chained: it was altered, or slipped in"
TAMPERED = {
    "altered": ("UPDATE audit_entries SET actor_name = 'somebody else' WHERE seq = 3", 3, ALTERED),
    "altered before": ("UPDATE audit_entries SET before = '{}' WHERE seq = 3", 3, ALTERED),
    "another time": ("UPDATE audit_entries SET at = at + interval '1 microsecond' WHERE seq = 6", 6, ALTERED),
    "of another team": ("UPDATE audit_entries SET team_id = 'team_b' WHERE seq = 6", 6, "the end of the chain"),
    "removed": ("DELETE FROM audit_entries WHERE seq = 3", 3, "an entry is missing: after 2 comes 4"),
    "first removed": ("DELETE FROM audit_entries WHERE seq = 1", 1, "an entry is missing: after 0 comes 2"),
    "end removed": ("DELETE FROM audit_entries WHERE seq >= 5", 5, "the end of the chain is missing"),
    "all removed": ("DELETE FROM audit_entries", 1, "the end of the chain is missing"),
    "unchained": ("UPDATE audit_entries SET seq = NULL, hash = NULL WHERE seq = 6", 6, "the end of the chain"),
    "slipped in at the end": (
        """INSERT INTO audit_entries SELECT 'aud_x', team_id, at, actor_kind, actor_id, actor_name, action, object_type,
        object_id, address, request_id, before, after, 7, hash FROM audit_entries WHERE seq = 6""",
        7, "an entry lies behind the end",
    ),
    "slipped in before the beginning": (
        "UPDATE audit_heads SET anchor_seq = 1, anchor_hash = (SELECT hash FROM audit_entries WHERE seq = 1)",
        1, "an entry is there that retention has removed",
    ),
    "swapped": (
        """UPDATE audit_entries SET seq = 100 WHERE seq = 2; UPDATE audit_entries SET seq = 2 WHERE seq = 3;
        UPDATE audit_entries SET seq = 3 WHERE seq = 100""", 2, ALTERED,
    ),
    "another head": ("UPDATE audit_heads SET hash = anchor_hash", 6, "the head of the chain is another"),
    "no head": ("DELETE FROM audit_heads", 1, "the head of the chain is missing"),
}  # fmt: skip


def test_a_check_finds_what_was_tampered_with(capsys):
    for statement, seq, fault in TAMPERED.values():
        auth("DELETE FROM audit_entries")
        auth("DELETE FROM audit_heads")
        chained()
        for one in statement.split(";"):
            auth(one)
        report = verify.verify("team_a")
        assert (report.bad_seq, (report.fault or "")[: len(fault)]) == (seq, fault), statement
        assert run(["audit", "verify"]) == 1
        assert f"team_a  BROKEN at entry {seq}" in capsys.readouterr().out


def test_whoever_makes_a_whole_new_chain_is_found_by_a_head_that_was_kept_elsewhere(capsys):
    team_id = identity.ensure_team("acme")
    before = chained(team_id)
    kept = f"{before.seq}:{before.hash}"
    auth(
        "UPDATE audit_entries SET actor_name = 'somebody else', seq = NULL, hash = NULL WHERE team_id = :id", id=team_id
    )
    auth("DELETE FROM audit_heads")
    duties.chain_entries()
    assert run(["audit", "verify", "--team", "acme"]) == 0, "which is why the head is to be kept elsewhere"
    assert run(["audit", "verify", "--team", "acme", "--expect", kept]) == 1
    assert "another hash here than the one that was kept elsewhere" in capsys.readouterr().out
    auth("DELETE FROM audit_entries")
    auth("DELETE FROM audit_heads")
    assert verify.verify(team_id, expected=verify.parse_expected(kept)).fault == "the chain that had entry 6 is gone"


def test_a_head_that_was_kept_is_a_place_that_the_chain_still_goes_through(capsys):
    before = chained(PLATFORM)
    note(PLATFORM, 3)
    duties.chain_entries()
    after = verify.verify(PLATFORM)
    for report in (before, after):
        expected = f"{report.seq}:{report.hash}"
        assert run(["audit", "verify", "--team", PLATFORM, "--expect", expected]) == 0
    assert f"head 9:{after.hash}" in capsys.readouterr().out
    assert verify.verify(PLATFORM, expected=(10, after.hash)).fault.startswith("the expected entry 10 is not in")
    assert run(["audit", "verify", "--expect", f"9:{after.hash}"]) == 2
    with pytest.raises(Invalid):
        verify.parse_expected("9")


def age(team_id, up_to):
    """Let entries be two years old; what they were chained with is then old as well."""
    auth("DELETE FROM audit_heads WHERE team_id = :id", id=team_id)
    auth("UPDATE audit_entries SET seq = NULL, hash = NULL WHERE team_id = :id", id=team_id)
    for number, (entry_id, *_) in enumerate(
        auth("SELECT id FROM audit_entries WHERE team_id = :t ORDER BY id", t=team_id)
    ):
        if number < up_to:
            auth("UPDATE audit_entries SET at = at - interval '2 years', id = :old WHERE id = :id",
                 id=entry_id, old=f"aud_00{entry_id[6:]}")  # fmt: skip
    while duties.chain_entries():
        pass


def test_retention_removes_the_beginning_and_the_rest_still_verifies(setting, monkeypatch):
    chained()
    chained("team_b")
    age("team_a", 4)
    kept = verify.verify("team_a")
    setting("AGORA_AUDIT_RETENTION_DAYS", 0)
    assert duties.remove_old_entries() == 0
    setting("AGORA_AUDIT_RETENTION_DAYS", 400)
    monkeypatch.setattr(duties, "TEAMS", 1)  # so that it walks
    monkeypatch.setitem(duties._walk, "after", "")
    assert [duties.remove_old_entries() for _ in range(4)] == [4, 0, 0, 0]
    report = verify.verify("team_a", expected=(kept.seq, kept.hash))
    assert (report.fault, report.anchor_seq, report.entries, report.seq) == (None, 4, 2, 6)
    assert verify.verify("team_b").entries == ENTRIES
    note("team_a", 2)
    duties.chain_entries()
    assert verify.verify("team_a").seq == 8
    assert verify.verify("team_a", expected=(2, "0" * 64)).fault == "the expected entry 2 lies before what is kept"
    auth("DELETE FROM audit_entries WHERE seq = 5")
    assert verify.verify("team_a").fault == "an entry is missing: after 4 comes 6"


def test_retention_may_remove_a_whole_chain_which_goes_on_all_the_same(setting):
    chained()
    age("team_a", ENTRIES)
    assert duties.remove_old_entries() == ENTRIES
    assert (verify.verify("team_a").fault, verify.verify("team_a").entries) == (None, 0)
    note("team_a")
    duties.chain_entries()
    assert (verify.verify("team_a").fault, verify.verify("team_a").seq) == (None, ENTRIES + 1)


@pytest.mark.parametrize("how", ["altered", "removed"])
def test_retention_removes_nothing_of_a_chain_that_was_tampered_with(how):
    chained()
    age("team_a", ENTRIES)
    auth(TAMPERED[how][0])
    assert duties.remove_old_entries() == 0
    assert verify.verify("team_a").bad_seq == 3


def test_what_is_not_chained_yet_is_told(capsys):
    chained()
    note(count=2)
    assert verify.verify("team_a").waiting == 2
    assert run(["audit", "verify"]) == 0
    assert "ok: 6 entries, 2 not chained yet; head 6:" in capsys.readouterr().out
    with transaction("auth") as session:
        assert (session.query(HeadRow).count(), session.query(EntryRow).count()) == (1, 8)


def test_who_acts_is_bound_to_the_context_and_is_the_platform_otherwise():
    assert acting.actor().kind == ActorKind.SYSTEM
    with acting.acting(acting.operator()):
        who = acting.actor()
        assert (who.kind, bool(who.address), who.id.startswith("uid:")) == (ActorKind.OPERATOR, True, True)
        heard = []
        thread = threading.Thread(target=lambda: heard.append(acting.actor().kind))
        thread.start()
        thread.join()
        assert heard == [ActorKind.SYSTEM]
    assert acting.actor().kind == ActorKind.SYSTEM
