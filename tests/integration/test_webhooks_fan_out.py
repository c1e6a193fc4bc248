"""Which endpoints get an event, and how that goes when there are many of them."""

from types import SimpleNamespace

import pytest
from sqlalchemy import text

from agora.clock import now
from agora.db.session import transaction
from agora.dispatcher import deliveries as duty
from agora.events.types import JobRef, own_event, step_event
from agora.ids import new_id
from agora.jobs import chronicle
from agora.webhooks import fan_out_queries
from agora.webhooks.fan_out_queries import expand_fan_out
from tests.support.webhooks import Team, gone_in_line, run_until_ended, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")


@pytest.fixture(autouse=True)
def _from_the_beginning(monkeypatch):
    monkeypatch.setattr(duty, "reached", duty.Reached())
    monkeypatch.setattr(duty, "LONGEST_WORK", 10.0)


def test_an_event_for_many_endpoints_is_one_row_until_the_dispatcher_expands_it(team, receiver, engines, setting):
    setting("AGORA_WEBHOOK_FAN_OUT_LIMIT", 3)
    for n in range(5):
        team.endpoint(receiver.url(f"/{n}"))
    team.endpoint(receiver.url("/other"), event_types=("job.failed",))
    job_id = new_id("job")
    [event] = team.happen(job_id=job_id)
    assert team.statuses() == []
    late = team.endpoint(receiver.url("/late")).endpoint  # it was made after the event
    assert duty.expand_fan_outs() == 5
    assert duty.expand_fan_outs() == 0
    run_until_ended(engines(), team)
    assert {path: [got[0]["webhook-id"] for got in came] for path, came in receiver.got.items()} == {
        f"/{n}": [event.id] for n in range(5)
    }
    assert late.id not in {one.endpoint_id for one in team.deliveries()}
    assert {one.job_id for one in team.deliveries()} == {job_id}
    assert sql("SELECT count(*) AS n FROM webhook_fan_outs")[0]["n"] == 0


def test_an_expansion_goes_on_in_slices_and_after_a_crash(team, receiver, setting, monkeypatch):
    setting("AGORA_WEBHOOK_FAN_OUT_LIMIT", 1)
    for n in range(7):
        team.endpoint(receiver.url(f"/{n}"))
    team.happen(count=2)
    monkeypatch.setattr(duty, "EXPAND_MOST", 7)  # of two events each: three endpoints
    monkeypatch.setattr(duty, "LONGEST_WORK", 0.0)  # one round
    assert duty.expand_fan_outs() == 6

    with transaction() as session:
        assert expand_fan_out(session, team_id=team.id, most=7) == (True, 6)
        session.rollback()  # as when the dispatcher dies before its commit
    assert len(team.deliveries()) == 6
    assert [duty.expand_fan_outs() for _ in range(4)] == [6, 2, 0, 0]
    assert len({(one.event_id, one.endpoint_id) for one in team.deliveries()}) == 14


def test_a_small_event_in_a_large_team_and_a_batch_to_few_are_made_at_once(team, receiver, setting):
    setting("AGORA_WEBHOOK_FAN_OUT_LIMIT", 3)
    for n in range(10):
        team.endpoint(receiver.url(f"/{n}"), event_types=("job.failed",) if n > 1 else ("job.succeeded",))
    team.happen("job.succeeded", count=40)
    assert len(team.statuses()) == 50  # a page of the list
    assert sql("SELECT count(*) AS n FROM webhook_deliveries")[0]["n"] == 80
    assert sql("SELECT count(*) AS n FROM webhook_fan_outs")[0]["n"] == 0


def test_filters_by_project(team, receiver):
    team.endpoint(receiver.url("/a"), projects=("prj_a",))
    team.endpoint(receiver.url("/all"))
    team.happen(data={"project_id": "prj_a"})
    team.happen(data={"metadata": {"project_id": "prj_a"}})
    team.happen(data={"metadata": {"project_id": "prj_b"}})
    team.happen(data={"metadata": "prj_a"})
    counts = {row["path"]: row["n"] for row in sql(
        "SELECT right(e.url, 4) AS path, count(*) AS n FROM webhook_deliveries d JOIN webhook_endpoints e"
        " ON e.id = d.endpoint_id GROUP BY 1")}  # fmt: skip
    assert sorted(counts.values()) == [2, 4]


def events_of(endpoint_id):
    statement = "SELECT event_id FROM webhook_deliveries WHERE endpoint_id = :id ORDER BY place, id"
    return [row["event_id"] for row in sql(statement, id=endpoint_id)]


def test_filters_by_metadata(team, receiver):
    acme = team.endpoint(receiver.url("/a"), metadata_filter={"customer": "acme", "plan": 1}).endpoint
    every = team.endpoint(receiver.url("/all")).endpoint
    wanted = [
        *team.happen(data={"metadata": {"customer": "acme", "plan": 1, "more": [1]}}),
        *team.happen(data={"job_id": "job_1", "metadata": {"plan": 1.0, "customer": "acme"}}),
    ]
    for metadata in (
        {"customer": "acme"},
        {"customer": ["acme"], "plan": 1},
        {"customer": "acme", "plan": "1"},
        "acme",
    ):
        team.happen(data={"metadata": metadata})
    team.happen(data={"customer": "acme", "plan": 1})
    assert events_of(acme.id) == [event.id for event in wanted]
    assert len(events_of(every.id)) == 7


def test_events_of_steps_and_agents_are_chosen_by_the_metadata_of_their_job(team, receiver):
    """These do not say it themselves, and what an agent says is no reason to tell another customer."""
    acme = team.endpoint(receiver.url("/a"), event_types=("step.*", "agent.*"), metadata_filter={"customer": "acme"})
    jobs = [JobRef(id=new_id("job"), team_id=team.id, agent="probe", action="a", version=1, metadata={"customer": name})
            for name in ("acme", "other")]  # fmt: skip
    told = []
    for job in jobs:
        events = [
            step_event("step.succeeded", job, step="one", iteration=0, attempt=1),
            own_event("said", job_id=job.id, step="one", data={"metadata": {"customer": "acme"}}),
        ]
        told.append([event.id for event in events])
        with transaction() as session:
            chronicle.fan_out(session, job, events, now())
    assert sorted(events_of(acme.endpoint.id)) == sorted(told[0])


def test_what_is_put_off_is_filtered_as_well(team, receiver, setting):
    setting("AGORA_WEBHOOK_FAN_OUT_LIMIT", 1)
    for n in range(3):
        team.endpoint(receiver.url(f"/{n}"))
    acme = team.endpoint(receiver.url("/a"), metadata_filter={"customer": "acme"}).endpoint
    [wanted] = team.happen(data={"metadata": {"customer": "acme"}})
    team.happen(data={"metadata": {"customer": "other"}})
    team.happen(data={"job_id": "job_1"})
    assert duty.expand_fan_outs() == 4 + 3 + 3
    assert events_of(acme.id) == [wanted.id]


def test_an_order_is_kept_when_only_the_first_event_is_put_off(team, receiver, setting):
    """The second concerns few endpoints, and would overtake the first at the one that keeps an order."""
    setting("AGORA_WEBHOOK_FAN_OUT_LIMIT", 2)
    for n in range(3):
        team.endpoint(receiver.url(f"/{n}"), event_types=("job.created",))
    ordered = team.endpoint(receiver.url("/ordered"), event_types=("job.*",), fifo="endpoint").endpoint
    first = team.happen("job.created")
    second = team.happen("job.started", count=2)
    third = team.happen("job.succeeded")
    assert team.statuses() == []
    assert duty.expand_fan_outs() == 7
    assert events_of(ordered.id) == [event.id for event in (*first, *second, *third)]
    fourth = team.happen("job.failed")
    assert events_of(ordered.id)[-1] == fourth[0].id  # nothing is put off any more


def test_two_dispatchers_do_not_overtake_each_other_within_a_team(team, receiver, setting):
    setting("AGORA_WEBHOOK_FAN_OUT_LIMIT", 1)
    for n in range(4):
        team.endpoint(receiver.url(f"/{n}"))
    team.happen()
    team.happen()
    other_team = Team()
    for n in range(2):
        other_team.endpoint(receiver.url(f"/other/{n}"))
    other_team.happen()
    with transaction() as one, transaction() as other:
        assert expand_fan_out(one, team_id=team.id, most=2) == (True, 2)
        assert expand_fan_out(other, team_id=team.id, most=2) == (False, 0)
        assert expand_fan_out(other, team_id=other_team.id, most=2) == (True, 2)
        assert {row["team_id"] for row in other.execute(text("SELECT team_id FROM webhook_deliveries")).mappings()} == {
            other_team.id
        }


def test_a_commit_makes_no_more_deliveries_than_its_bound_however_many_events_it_has(
    team, receiver, setting, monkeypatch
):  # fmt: skip
    monkeypatch.setattr(fan_out_queries, "MOST_AT_ONCE", 10)
    team.endpoint(receiver.url("/a"))
    team.happen(count=10)
    assert len(team.deliveries()) == 10
    team.happen(count=11)
    assert len(team.deliveries()) == 10
    assert duty.expand_fan_outs() == 11


def test_an_inline_webhook_that_is_gone_gets_nothing_more_and_keeps_nothing_open(team, receiver, engines):
    """Nobody can enable it again, so nothing is held for it: that would keep its job for ever."""
    job_id = gone_in_line(team, receiver, engines)
    team.happen("job.succeeded", job_id=job_id)
    assert duty.cancel_orphans() == 1
    found = {one.event_type: (one.status, one.last_error) for one in team.deliveries()}
    assert found.keys() == {"job.created", "job.started"}
    assert found["job.created"] == ("cancelled", "the receiver answered 410 Gone")
    assert found["job.started"][0] == "exhausted"


def happened_to_many(setting, counts):
    """Teams with so many endpoints each, all of which an event is put off for; in the order of their turns."""
    setting("AGORA_WEBHOOK_FAN_OUT_LIMIT", 1)
    teams = sorted((Team() for _ in counts), key=lambda team: team.id)
    for team, count in zip(teams, counts, strict=True):
        for n in range(count):
            team.endpoint(f"https://127.0.0.1/{n}")
        team.happen()
    return teams


def made_for(teams):
    return [len(team.deliveries()) for team in teams]


def test_teams_take_turns_so_that_none_waits_for_all_of_another(setting, monkeypatch):
    teams = happened_to_many(setting, [9, 2, 5])
    teams[0].happen()
    monkeypatch.setattr(duty, "EXPAND_MOST", 2)
    monkeypatch.setattr(duty, "LONGEST_WORK", 0.0)  # one round
    seen = []
    for _ in range(6):
        duty.expand_fan_outs()
        seen.append(made_for(teams))
    assert seen == [[2, 0, 0], [2, 2, 0], [2, 2, 2], [4, 2, 2], [4, 2, 2], [4, 2, 4]]  # the end takes a look of its own
    monkeypatch.setattr(duty, "LONGEST_WORK", 10.0)
    duty.expand_fan_outs()
    assert made_for(teams) == [18, 2, 5]
    assert sql("SELECT count(*) AS n FROM webhook_fan_outs")[0]["n"] == 0


def test_events_that_cannot_be_expanded_stop_no_other_team(setting, monkeypatch):
    teams = happened_to_many(setting, [3, 3])
    sql("UPDATE webhook_fan_outs SET events = '{}' WHERE team_id = :id", id=teams[0].id)
    teams[0].happen()  # behind it, so it waits
    assert duty.expand_fan_outs() == 3
    assert made_for(teams) == [0, 3]
    assert duty.expand_fan_outs() == 0
    sql("DELETE FROM webhook_fan_outs WHERE events = '{}'")
    assert duty.expand_fan_outs() == 0  # it is not looked at again and again
    monkeypatch.setattr(duty.reached, "stuck", dict.fromkeys(duty.reached.stuck, 0.0))
    assert duty.expand_fan_outs() == 3
    assert made_for(teams) == [3, 3]


def test_a_tick_expands_for_a_tenth_of_a_second_and_no_longer(setting, monkeypatch):
    [team] = happened_to_many(setting, [12])
    monkeypatch.setattr(duty, "EXPAND_MOST", 1)
    monkeypatch.setattr(duty, "LONGEST_WORK", 0.1)
    moments = iter([0.0, 0.04, 0.09, 0.11])
    monkeypatch.setattr(duty, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    assert duty.expand_fan_outs() == 3
    assert made_for([team]) == [3]
