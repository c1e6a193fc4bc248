"""Every event type with its data as the real engine records it, pinned: receivers of webhooks and readers of streams
build on it; and each keeps to the JSON Schema that the catalogue publishes.

A difference is a change of the contract: write the new file with `GOLDEN=write pytest <this file>`, and say so in the
changelog.
"""

import json
import os
import re
from datetime import timedelta
from pathlib import Path

from agora.agents import Retry, StepContext, Transient, WaitFor
from agora.batches.duties import CompleteBatches
from agora.batches.service import submit_batch
from agora.bulk.duties import work_off
from agora.bulk.service import begin
from agora.bulk.types import NewBulk
from agora.clock import now
from agora.events.catalogue import EVENT_TYPES, find_type
from agora.jobs import moves, service
from agora.jobs.types import JobFilter, Submission
from agora.jobs.unique import Debounce
from agora.outcomes import Permanent
from agora.projects import changes
from agora.projects.states import Phase
from agora.schedules.firing import fire_schedules
from agora.schedules.service import create_schedule
from agora.schedules.types import NewSchedule
from tests.support.payloads import check_data
from tests.support.probes import Number, agent_with
from tests.support.projects import a_project
from tests.support.rig import Rig

GOLDEN = Path(__file__).parents[1] / "golden" / "events.json"
NOT_RECORDED_HERE = {kind for kind in EVENT_TYPES if kind.startswith("webhook.")}
"""Of endpoints and their deliveries: their own tests hold them against the catalogue."""
ONCE = Retry(attempts=2, first=timedelta(0), jitter=0.0)


def plain(ctx: StepContext[Number]) -> Number:
    ctx.progress(0.5, "half way")
    ctx.partial({"n": 1})
    ctx.emit("noted", {"what": "something"})
    return Number()


def flaky(ctx: StepContext[Number]) -> Number:
    if ctx.attempt == 1:
        raise Transient("not yet", code="busy")
    return Number()


def broken(_: StepContext[Number]) -> Number:
    raise Permanent("never", code="no-such-thing")


def asking(_: StepContext[Number]) -> WaitFor:
    return WaitFor({"type": "integer"}, "How many?", until=now() + timedelta(hours=1))


def after(_: StepContext[Number]) -> Number:
    return Number()


def pinned(value):
    """The same, with what differs from run to run named instead of shown."""
    if isinstance(value, dict):
        return {name: pinned(inner) for name, inner in value.items()}
    if isinstance(value, str):
        value = re.sub(r"\b([a-z]{3,4})_[0-9a-z]{26}\b", r"<\1>", value)
        return re.sub(r"\d{4}-\d\d-\d\dT[\d:.+]+Z?", "<time>", value)
    return value


def complete_a_batch(rig):
    submission = Submission(agent=rig.agent.name, action="plain", input={})
    submit_batch([submission], team_id=rig.team_id, metadata={"order": 7})
    rig.run()
    assert CompleteBatches()() == 1


def end_a_bulk_action(rig):
    begin(NewBulk(action="cancel", filter=JobFilter(agent="nobody")), team_id=rig.team_id)
    assert work_off() == 1


def fire_a_schedule_and_fail(rig):
    new = NewSchedule(name="hourly", agent=rig.agent.name, action="plain", every=3600, metadata={"order": 7})
    create_schedule(new, team_id=rig.team_id)
    rig.sql("UPDATE schedules SET next_fire_at = now()")
    assert fire_schedules() == 1
    rig.sql("""UPDATE schedules SET next_fire_at = now(), input = '{"v": {"n": "x"}}'""")
    assert fire_schedules() == 1


def change_a_project(rig):
    project = a_project(rig.team_id).project_id
    changes.update_project(project, team_id=rig.team_id, name="Second")
    changes.set_phase(project, Phase.ANALYSIS, team_id=rig.team_id)
    changes.set_scores(project, team_id=rig.team_id, maturity=60, coverage=0.75)
    (first, *_) = rig.sql("SELECT id FROM specifications ORDER BY key")
    changes.revise_specification(first["id"], team_id=rig.team_id, confidence=1.0)
    changes.revise_specification(first["id"], team_id=rig.team_id, value="<= 1 s")
    (clash,) = rig.sql("SELECT id FROM conflicts")
    changes.resolve_conflict(clash["id"], team_id=rig.team_id)


def test_every_event_is_what_the_golden_file_says(db, monkeypatch):
    agent = agent_with(plain=[plain], flaky=[(flaky, {"retry": ONCE})], broken=[broken], asking=[asking, after])
    rig = Rig(monkeypatch, agent)
    jobs = [rig.submit(name, metadata={"order": 7}) for name in ("plain", "flaky", "broken", "asking")]
    rig.run()
    service.give_input(jobs[3].id, team_id=rig.team_id, value=3)
    rig.run()
    cancelled = rig.submit("plain", metadata={"order": 7})
    service.cancel_job(cancelled.id, team_id=rig.team_id, reason="changed")
    for version in (1, 2):
        agent.action("moving", input=Number, output=Number, version=version).step(after)
    rig.worker()
    moved = rig.submit("moving", version=1)
    moves.move_job(moved.id, team_id=rig.team_id, version=2)
    for _ in range(2):
        rig.submit("plain", metadata={"order": 7}, debounce=Debounce(key="k", window=60))
    found = {}
    complete_a_batch(rig)
    end_a_bulk_action(rig)
    fire_a_schedule_and_fail(rig)
    change_a_project(rig)
    for row in rig.sql("SELECT type, data, job_id FROM events ORDER BY id"):
        check_data(row["type"], row["data"])
        assert (row["job_id"] is not None) is find_type(row["type"]).of_job
        found.setdefault(row["type"], pinned(row["data"]))
    assert set(found) - {"agent.noted"} == set(EVENT_TYPES) - NOT_RECORDED_HERE
    text = json.dumps(found, indent=2, sort_keys=True) + "\n"
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
