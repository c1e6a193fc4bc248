"""Retention: what has ended goes after its time; what is open, on hold or needed by others stays."""

import errno
import random
import threading
from datetime import timedelta

import pytest
from sqlalchemy.dialects.postgresql import JSONB

from agora.agents import Retry, StepContext, WaitFor
from agora.batches import models as _batches  # noqa: F401  # every table, whoever imported what
from agora.bulk import models as _bulk  # noqa: F401
from agora.clock import now
from agora.db.session import transaction
from agora.db.types import Base
from agora.errors import Invalid, NotFound
from agora.files import models as _files  # noqa: F401
from agora.files import store
from agora.ids import floor_id, new_id
from agora.jobs import lineage, queries, service
from agora.jobs.lineage import Wish
from agora.jobs.states import JOB_ENDED, JobState
from agora.outcomes import Permanent
from agora.projects import models as _projects  # noqa: F401
from agora.retention import duties, holds, removal_queries, stored
from agora.schedules import models as _schedules  # noqa: F401
from agora.settings import get_settings
from agora.teams import models as _teams  # noqa: F401
from agora.webhooks.types import InlineWebhook
from tests.support.aging import aged, begin_anew, sweep
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")
LARGE = "é" * 100_000


def plain(ctx: StepContext[Number]) -> Number:
    ctx.once("note", lambda: 1)
    return Number(n=ctx.input.n)


def fails(_: StepContext[Number]) -> Number:
    raise Permanent("never")


def asks(_: StepContext[Number]) -> WaitFor:
    return WaitFor({"type": "integer"}, "How many?")


def large(_: StepContext[Number]) -> str:
    return LARGE


@pytest.fixture
def rig(monkeypatch):
    once = {"retry": Retry(attempts=1)}
    begin_anew()
    return Rig(
        monkeypatch,
        agent_with(plain=[plain], fails=[fails], asks=[asks, plain], large=[large, plain], half=[large, (fails, once)]),
    )


def ran(rig, action="plain", **options):
    job = rig.submit(action, **options)
    rig.run()
    return job


def there(rig, job_id):
    try:
        return service.get_job(job_id, team_id=rig.team_id).id == job_id
    except NotFound:
        return False


def count(rig, table):
    return rig.sql(f"SELECT count(*) AS n FROM {table}")[0]["n"]


def test_each_status_has_its_time_and_nothing_of_a_removed_job_is_left(rig):
    webhook = InlineWebhook(url="https://127.0.0.1/x")
    old = aged(rig, ran(rig, webhook=webhook), 31)
    young = aged(rig, ran(rig), 29)
    failed = aged(rig, ran(rig, "fails"), 31)
    long_failed = aged(rig, ran(rig, "fails"), 91)
    asking = aged(rig, ran(rig, "asks"), 400)
    rig.sql("UPDATE webhook_deliveries SET status = 'succeeded', ended_at = now()")
    assert count(rig, "webhook_endpoints") == 1
    sweep()
    assert [there(rig, one) for one in (old, young, failed, long_failed, asking)] == [False, True, True, False, True]
    for table in ("steps", "webhook_deliveries", "webhook_endpoints"):
        assert rig.sql(f"SELECT 1 FROM {table} WHERE job_id = :id", id=old) == []
    assert rig.sql("SELECT 1 FROM step_notes n WHERE NOT EXISTS (SELECT FROM steps s WHERE s.id = n.step_id)") == []
    with transaction() as session:
        assert removal_queries.list_removed(session)["jobs"] == 2


def test_what_others_need_stays_until_they_do_not(rig):
    child, parent = aged(rig, ran(rig), 60), aged(rig, ran(rig, "asks"), 60)
    rig.sql("UPDATE jobs SET parent_id = :parent WHERE id = :child", parent=parent, child=child)
    told = aged(rig, ran(rig, webhook=InlineWebhook(url="https://127.0.0.1/x")), 60)
    sweep()
    assert [there(rig, one) for one in (child, parent, told)] == [True, True, True]
    service.cancel_job(parent, team_id=rig.team_id)
    rig.sql("UPDATE webhook_deliveries SET status = 'succeeded', ended_at = now()")
    sweep()
    assert [there(rig, one) for one in (child, parent, told)] == [False, True, False]


def test_a_hold_keeps_jobs_that_are_older_than_it_and_a_released_one_lets_them_go(rig):
    kept = aged(rig, ran(rig, metadata={"case": {"no": 7, "of": "x"}, "more": 1}), 100)
    gone = aged(rig, ran(rig, metadata={"case": {"no": 8}}), 100)
    foreign = holds.create_hold("another team's", {"case": {"no": 8}}, team_id=new_id("team"))[0]
    hold, replayed = holds.create_hold("case 7", {"case": {"no": 7}}, team_id=rig.team_id, key_id=new_id("key"))
    assert (hold.released_at, foreign.released_at, replayed) == (None, None, False)
    sweep()
    assert [there(rig, kept), there(rig, gone)] == [True, False]
    released = holds.release_hold(hold.id, team_id=rig.team_id, key_id=new_id("key"))
    again = holds.release_hold(hold.id, team_id=rig.team_id, key_id=None)
    assert released == again
    assert released.released_by is not None
    assert [one.id for one in holds.list_holds(team_id=rig.team_id, released=True).items] == [hold.id]
    assert holds.list_holds(team_id=rig.team_id).items == []
    sweep()
    assert not there(rig, kept)


def test_a_hold_of_everything_is_refused_and_names_the_field(rig):
    with pytest.raises(Invalid) as refused:
        holds.create_hold("all", {}, team_id=rig.team_id)
    assert refused.value.errors[0].pointer == "/metadata"
    with pytest.raises(NotFound):
        holds.get_hold("hld_nothing", team_id=rig.team_id)


def test_a_hold_waits_for_the_removal_that_is_under_way(rig):
    answered = threading.Event()

    def hold():
        holds.create_hold("late", {"a": 1}, team_id=rig.team_id)
        answered.set()

    with transaction() as session:
        assert removal_queries.try_alone(session)
        thread = threading.Thread(target=hold)
        thread.start()
        assert not answered.wait(0.3)
    thread.join(10)
    assert answered.is_set()


def test_random_jobs_go_exactly_when_they_may(rig):
    """Whatever the mix of states, ages, holds and parents: an open job stays, and of the others just the right ones."""
    dice = random.Random(20261124)
    template = ran(rig)
    settings = get_settings()
    kept_days = {"succeeded": settings.retention_succeeded, "failed": settings.retention_failed,
                 "cancelled": settings.retention_cancelled}  # fmt: skip
    holds.create_hold("h", {"held": True}, team_id=rig.team_id)
    stays, goes, ids = set(), set(), []
    for number in range(300):
        status = dice.choice(list(JobState))
        age, ended_ago = dice.uniform(0, 200), None
        made = floor_id("job", now() - timedelta(days=age, milliseconds=number))
        if status in JOB_ENDED:
            ended_ago = dice.uniform(0, age)
        held, parent = dice.random() < 0.2, dice.choice(ids) if ids and dice.random() < 0.3 else None
        rig.sql(
            """INSERT INTO jobs SELECT (jsonb_populate_record(j, jsonb_build_object(
                   'id', CAST(:made AS text), 'status', CAST(:status AS text), 'metadata', CAST(:labels AS jsonb),
                   'parent_id', CAST(:parent AS text),
                   'ended_at', now() - make_interval(secs => CAST(:ended AS float8) * 86400)))).*
               FROM jobs j WHERE id = :id""",
            made=made, status=status, labels='{"held": true}' if held else "{}", id=template.id, ended=ended_ago,
            parent=parent[0] if parent else None,
        )  # fmt: skip
        ids.append((made, status))
        waited_for = parent is not None and parent[1] not in JOB_ENDED
        may_go = status in JOB_ENDED and ended_ago > kept_days[status] and not held and not waited_for
        (goes if may_go else stays).add(made)
    sweep()
    found = {row["id"] for row in rig.sql("SELECT id FROM jobs WHERE id <> :id", id=template.id)}
    assert found == stays
    assert len(goes) > 30
    assert len(stays) > 100


def test_a_job_that_is_being_retried_is_not_removed_under_the_retry(rig):
    failed = aged(rig, ran(rig, "half"), 100)
    with transaction() as session:
        assert queries.find_job(session, team_id=rig.team_id, job_id=failed, keep=True)
        sweep()
    assert there(rig, failed)
    again = lineage.go_on(failed, Wish(), team_id=rig.team_id).job
    sweep()
    assert not there(rig, failed)
    assert [(one.name, one.status) for one in rig.job(again).steps] == [("large", "copied"), ("fails", "ready")]


def partitions(rig, table):
    with transaction() as session:
        return removal_queries.list_partitions(session, table=table)


def test_old_months_go_and_the_events_of_open_and_held_jobs_stay_readable(rig):
    holds.create_hold("h", {"held": True}, team_id=rig.team_id)
    gone = aged(rig, ran(rig, "fails"), 200)
    held = aged(rig, ran(rig, "fails", metadata={"held": True}), 200)
    asking = aged(rig, ran(rig, "asks"), 200)
    young = aged(rig, ran(rig), 10)
    before = {one: events(rig, one) for one in (held, asking, young)}
    tries = {one: service.get_job(one, team_id=rig.team_id).steps[0].tries for one in (held, asking)}
    assert len(before[held]) > 2
    months = {table: len(partitions(rig, table)) for table in ("events", "attempts")}
    for _ in range(8):
        duties.drop_old_partitions()
    month = f"{now() - timedelta(days=200):%Y_%m}"
    for table in ("events", "attempts"):
        assert f"{table}_{month}" not in partitions(rig, table)
        assert len(partitions(rig, table)) < months[table]
    assert {one: events(rig, one) for one in (held, asking, young)} == before
    assert {one: service.get_job(one, team_id=rig.team_id).steps[0].tries for one in (held, asking)} == tries
    assert events(rig, gone) == []
    service.give_input(asking, team_id=rig.team_id, value=3)
    rig.run()
    found = service.list_events(asking, team_id=rig.team_id)
    assert [one.seq for one in found] == list(range(1, len(found) + 1))
    assert found[-1].type == "job.succeeded"
    hold = holds.list_holds(team_id=rig.team_id).items[0]
    holds.release_hold(hold.id, team_id=rig.team_id)
    begin_anew()
    duties.remove_moved_rows()
    assert events(rig, held) == []
    assert [one.seq for one in service.list_events(asking, team_id=rig.team_id)][-1] == found[-1].seq


def events(rig, job_id):
    return [(one.seq, one.type, one.data) for one in service.list_events(job_id, team_id=rig.team_id)]


def test_a_busy_table_is_left_for_later_and_its_writers_go_on(rig):
    aged(rig, ran(rig), 200)
    month = f"events_{now() - timedelta(days=200):%Y_%m}"
    with transaction() as session:
        queries.find_job(session, team_id=rig.team_id, job_id=new_id("job"))
        session.connection().exec_driver_sql("LOCK TABLE events IN ROW EXCLUSIVE MODE")
        began = now()
        duties.drop_old_partitions()
        assert now() - began < timedelta(seconds=2)
        assert month in partitions(rig, "events")
        assert rig.job(ran(rig)).status == "succeeded"
    for _ in range(8):
        duties.drop_old_partitions()
    assert month not in partitions(rig, "events")


def test_zero_keeps_for_ever(rig, monkeypatch):
    kept = aged(rig, ran(rig), 4_000)
    for name in ("SUCCEEDED", "FAILED", "CANCELLED", "EVENTS", "DELIVERIES"):
        monkeypatch.setenv(f"AGORA_RETENTION_{name}", "0")
    get_settings.cache_clear()
    sweep()
    duties.drop_old_partitions()
    monkeypatch.undo()
    get_settings.cache_clear()
    assert there(rig, kept)
    assert events(rig, kept)


def wait_a_day(rig, *, times=1):
    for _ in range(times):
        rig.sql("UPDATE leftovers SET noted_at = noted_at - interval '25 hours', "
                "trashed_at = trashed_at - interval '25 hours'")  # fmt: skip
        duties.remove_leftovers()


def goes_a_day_after_it_was_put_aside(rig, location):
    with store.open_stream(location) as aside:
        assert len(aside.read()) > len(LARGE)
    wait_a_day(rig)
    with pytest.raises(NotFound):
        store.open_stream(location)
    assert count(rig, "leftovers") == 0


def test_the_content_of_a_large_value_goes_with_its_last_row_and_not_before(rig):
    first, second = ran(rig, "large"), ran(rig, "half")
    location = rig.job(first).steps[0].result["ref"]
    assert rig.job(second).steps[0].result["ref"] == location, "equal values are stored once"
    aged(rig, first, 100)
    sweep()
    wait_a_day(rig, times=3)
    assert store.exists(location)
    assert count(rig, "leftovers") == 0, "it was looked at, and somebody has it"
    failed = aged(rig, second, 100)
    again = lineage.go_on(failed, Wish(), team_id=rig.team_id).job
    sweep()
    assert not there(rig, failed)
    wait_a_day(rig, times=3)
    assert store.exists(location), "the retry took the reference over"
    service.cancel_job(again.id, team_id=rig.team_id)
    aged(rig, again, 100)
    sweep()
    wait_a_day(rig)
    assert not store.exists(location)
    goes_a_day_after_it_was_put_aside(rig, location)


def test_content_that_is_referred_to_again_comes_back(rig):
    first = ran(rig, "large")
    location = rig.job(first).steps[0].result["ref"]
    keeper = ran(rig)
    aged(rig, first, 100)
    sweep()
    wait_a_day(rig)
    assert not store.exists(location)
    rig.sql("UPDATE jobs SET output = jsonb_build_object('ref', CAST(:at AS text)) WHERE id = :id", at=location,
            id=keeper.id)  # fmt: skip
    wait_a_day(rig)
    assert store.exists(location)
    assert count(rig, "leftovers") == 0


def test_content_that_a_store_did_not_put_aside_is_put_aside_the_next_time(rig, monkeypatch):
    """Not taken to be aside already: nothing would ever look at it again."""
    job = ran(rig, "large")
    location = rig.job(job).steps[0].result["ref"]
    aged(rig, job, 100)
    sweep()
    put_aside = store.put_aside

    def full(location):
        raise OSError(errno.ENOSPC, f"no space is left for {location}")

    def full_behind(location):
        put_aside(location)
        full(location)

    with monkeypatch.context() as patch:
        for fault in (full, full_behind):
            patch.setattr(store, "put_aside", fault)
            with pytest.raises(OSError, match="no space"):
                wait_a_day(rig)
    wait_a_day(rig)
    goes_a_day_after_it_was_put_aside(rig, location)


def test_content_that_was_put_aside_without_a_mark_comes_back_too(rig):
    """A process has died in between, and then somebody has referred to it again."""
    first, keeper = ran(rig, "large"), ran(rig)
    location = rig.job(first).steps[0].result["ref"]
    aged(rig, first, 100)
    sweep()
    store.put_aside(location)
    rig.sql("UPDATE jobs SET output = jsonb_build_object('ref', CAST(:at AS text)) WHERE id = :id", at=location,
            id=keeper.id)  # fmt: skip
    wait_a_day(rig)
    assert store.exists(location)
    assert count(rig, "leftovers") == 0


def test_every_json_column_is_known_as_stored_or_plain():
    """Add a new one to agora/retention/stored.py: to STORED, with its index, if it holds packed values, or to PLAIN."""
    found = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, JSONB)
    }
    known = {f"{table}.{column}" for table, columns in stored.STORED.items() for column in columns} | stored.PLAIN
    assert found == known
    indexes = {index.name for table in Base.metadata.tables.values() for index in table.indexes}
    assert {f"{table}_{column}_ref_idx" for table, columns in stored.STORED.items() for column in columns} <= indexes
