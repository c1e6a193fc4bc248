"""All of one team: exported with proof, erased to the last row, and begun again after a kill at any point."""

import hashlib
import io
import json
import random
from collections import Counter
from contextlib import suppress

import pytest
from sqlalchemy import text

from agora.agents import Retry, StepContext
from agora.cli import run
from agora.db.session import transaction
from agora.errors import Conflict, NotFound
from agora.files import service as files
from agora.files import store
from agora.identity import service as identity
from agora.jobs import service
from agora.outcomes import Transient
from agora.retention import holds
from agora.teams import erase, queries
from agora.teams.erase import StillWritten, erase_team
from agora.teams.export import DATABASES, export_team
from agora.webhooks import service as webhooks
from agora.webhooks.types import NewEndpoint
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")
LARGE = "é" * 100_000


def large(ctx: StepContext[Number]) -> str:
    ctx.once("note", lambda: 1)
    return LARGE


def fails(ctx: StepContext[Number]) -> Number:
    raise Transient("always", code="x")


def plain(ctx: StepContext[Number]) -> Number:
    return Number()


class Tenant:
    """A team with something in most tables."""

    def __init__(self, rig, name):
        self.name, self.id = name, identity.ensure_team(name)
        self.key = identity.create_key(self.id, "k").plain
        rig.team_id = self.id
        webhooks.create_endpoint(NewEndpoint(url="https://127.0.0.1/x"), team_id=self.id)
        self.jobs = [rig.submit(action) for action in ("chain", "broken", "chain")]
        rig.run()
        rig.submit("chain")  # which waits in the queue
        rig.rung.clear()
        self.file = files.store_file("a.txt", io.BytesIO(name.encode()), team_id=self.id)
        holds.release_hold(holds.create_hold("h", {"a": 1}, team_id=self.id)[0].id, team_id=self.id)


@pytest.fixture
def rig(monkeypatch):
    return Rig(monkeypatch, agent_with(chain=[large, plain], broken=[(fails, {"retry": Retry(attempts=1)})]))


@pytest.fixture
def two(rig):
    return Tenant(rig, "ours"), Tenant(rig, "theirs")


def rows_of(team_id):
    """How many rows of each table that has teams are the team's, as the catalogue knows the tables."""
    found = Counter()
    for database in DATABASES:
        with transaction(database) as session:
            names = session.scalars(
                text("SELECT DISTINCT table_name FROM information_schema.columns c JOIN information_schema.tables t"
                     " USING (table_schema, table_name) WHERE table_schema = 'public' AND column_name = 'team_id'")
            ).all()  # fmt: skip
            for name in names:
                found[name] = session.scalar(text(f"SELECT count(*) FROM {name} WHERE team_id = :id"), {"id": team_id})
    return +found


def test_every_table_is_known_to_be_a_teams_or_nobodys():
    for database in DATABASES:
        with transaction(database) as session:
            unknown = [name for name in queries.unknown_tables(session, team_id="") if name not in TESTS_OWN]
            assert unknown == [], "name it in agora/teams/queries.py: THROUGH, OWN or NOBODYS"


TESTS_OWN = {"ledger", "effects"}


def test_an_export_has_every_row_and_file_with_its_hash_and_no_secret(two, tmp_path):
    ours, theirs = two
    manifest = export_team("ours", tmp_path / "out")
    counted = rows_of(ours.id)
    for database in DATABASES:
        for name, told in manifest[database].items():
            content = (tmp_path / "out" / database / f"{name}.jsonl").read_bytes()
            assert hashlib.sha256(content).hexdigest() == told["sha256"]
            rows = [json.loads(line) for line in content.splitlines()]
            assert len(rows) == told["rows"]
            assert told["rows"] == counted[name] or "team_id" not in (rows or [{}])[0]
    for name in ("jobs", "steps", "step_notes", "attempts", "events", "files", "webhook_endpoints", "holds"):
        assert manifest["main"][name]["rows"] > 0, name
    assert manifest["auth"]["teams"]["rows"] == manifest["auth"]["api_keys"]["rows"] == 1
    whole = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert theirs.id.encode() not in whole
    assert hashlib.sha256(ours.key.encode()).hexdigest().encode() not in whole
    endpoint = json.loads((tmp_path / "out/main/webhook_endpoints.jsonl").read_text().splitlines()[0])
    assert "secrets" not in endpoint
    for location, told in manifest["files"].items():
        assert hashlib.sha256((tmp_path / "out" / location).read_bytes()).hexdigest() == told["sha256"]
    assert len(manifest["files"]) == 2
    jobs = (tmp_path / "out/main/jobs.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in jobs][:3] == [job.id for job in ours.jobs]
    with pytest.raises(Conflict, match="exists"):
        export_team("ours", tmp_path / "out")
    with pytest.raises(NotFound, match="no team nobody"):
        export_team("nobody", tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_nothing_of_an_erased_team_is_left_and_nothing_of_another_is_touched(two, rig):
    ours, theirs = two
    before, files_before = rows_of(theirs.id), store.list_all(f"values/{theirs.id}")
    counted = rows_of(ours.id)
    removed = erase_team("ours")
    assert rows_of(ours.id) == {}
    assert [store.list_all(f"{folder}/{ours.id}") for folder in ("files", "values")] == [[], []]
    assert removed["jobs"] == counted["jobs"]
    assert removed["events"] == counted["events"]
    assert removed["teams"] == 1
    assert rows_of(theirs.id) == before
    assert store.list_all(f"values/{theirs.id}") == files_before
    assert service.get_job(theirs.jobs[0].id, team_id=theirs.id).status == "succeeded"
    (row,) = rig.sql("SELECT * FROM erasures")
    assert row["subject"] == hashlib.sha256(ours.id.encode()).hexdigest()
    assert (row["team_name"], row["finished_at"] is None) == (None, False)
    with pytest.raises(NotFound):
        erase_team("ours")


def test_a_step_that_runs_meanwhile_writes_nothing(rig):
    seen = []

    def erased_meanwhile(ctx: StepContext[Number]) -> Number:
        seen.append(erase_team("ours")["jobs"])
        return Number()

    rig.agent = agent_with(chain=[erased_meanwhile, plain])
    rig.sql("DELETE FROM agent_versions")
    rig.engine = rig.worker()
    rig.team_id = identity.ensure_team("ours")
    rig.submit("chain")
    assert rig.run() == ["lost"]
    assert seen == [1]
    assert rows_of(rig.team_id) == {}


class Killed(BaseException):
    """The process ends here."""


class Dying:
    """Lets so many calls through, and then none."""

    def __init__(self, calls):
        self.left = calls

    def wrap(self, function):
        def wrapped(*arguments, **options):
            self.left -= 1
            if self.left < 0:
                raise Killed
            return function(*arguments, **options)

        return wrapped


POINTS = [(queries, "delete_slice"), (queries, "count_erased"), (queries, "finish_erasure"), (store, "remove_all")]


def test_an_erasure_that_is_killed_at_any_point_is_finished_by_the_next(two, monkeypatch):
    ours, theirs = two
    before, counted = rows_of(theirs.id), rows_of(ours.id)
    dice, tries, removed = random.Random(7), 0, None
    monkeypatch.setattr(erase, "SLICE", 2)
    while removed is None:
        tries += 1
        assert tries < 400
        dying = Dying(10 + tries * 5 + dice.randint(0, 9))
        with monkeypatch.context() as patch:
            for module, name in POINTS:
                patch.setattr(module, name, dying.wrap(getattr(module, name)))
            with suppress(Killed):
                removed = erase_team("ours")
    assert tries > 5
    assert rows_of(ours.id) == {}
    assert rows_of(theirs.id) == before
    assert {name: removed[name] for name in ("jobs", "events", "files")} == {
        name: counted[name] for name in ("jobs", "events", "files")
    }


def test_the_command_line_exports_and_erases_and_asks_before(two, tmp_path, capsys):
    ours, _ = two
    assert run(["team", "export", "ours", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["team"] == {"id": ours.id, "name": "ours"}
    assert run(["team", "erase", "ours"]) == 2
    assert "cannot be undone; say --yes" in capsys.readouterr().err
    assert rows_of(ours.id)
    assert run(["team", "erase", "ours", "--yes"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "team ours is erased"
    assert rows_of(ours.id) == {}
    assert run(["team", "erase", "ours", "--yes"]) == 1
    assert capsys.readouterr().err == "agora: there is no team ours\n"


def test_a_hold_stops_the_erasure_before_anything_is_gone(two):
    ours, _ = two
    holds.create_hold("case", {"customer": 1}, team_id=ours.id)
    before = rows_of(ours.id)
    with pytest.raises(Conflict, match="1 legal holds of team ours are in force"):
        erase_team("ours")
    assert rows_of(ours.id) == before
    assert identity.authenticate(ours.key).team_id == ours.id
    erase_team(ours.id, despite_holds=True)
    assert rows_of(ours.id) == {}


def test_who_keeps_writing_is_told(two, monkeypatch):
    ours, _ = two
    remove_all = store.remove_all

    def writes_again(folder):
        files.store_file("again.txt", io.BytesIO(b"x"), team_id=ours.id)
        return remove_all(folder)

    monkeypatch.setattr(store, "remove_all", writes_again)
    with pytest.raises(StillWritten, match="still gets new rows"):
        erase_team("ours")
    monkeypatch.undo()
    erase_team("ours")
    assert rows_of(ours.id) == {}


def test_projects_go_too(two, rig):
    ours, _ = two
    rig.sql("INSERT INTO projects (id, team_id, name, origin) VALUES ('prj_x', :team, 'p', 'x')", team=ours.id)
    erase_team("ours")
    assert rows_of(ours.id) == {}
