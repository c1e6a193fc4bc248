"""Answers as callers choose them: fewer fields, what belongs to each item, and at what price."""

import pytest
from sqlalchemy import event

from agora.db import engines
from api.schemas.jobs import JobOut
from api.shaping import fields_of, pick, tree_of
from tests.support.caller import Caller
from tests.support.probe import submit

JOBS, DELIVERIES, HOOK = "/api/v1/jobs", "/api/v1/webhook-deliveries", "http://127.0.0.1:9/hook"


@pytest.fixture
def statements(db):
    """Counts the statements of the main database."""
    found = []

    def note(_connection, _cursor, statement, *_):
        found.append(statement)

    event.listen(engines.engine(), "before_cursor_execute", note)
    yield found
    event.remove(engines.engine(), "before_cursor_execute", note)


def test_names_become_a_tree_and_pick_from_any_depth():
    data = {"a": 1, "b": {"c": 2, "d": {"e": 3, "f": 4}}, "g": [{"h": 5, "i": 6}, {"h": 7}], "n": None}
    for names, picked in (
        (["a"], {"a": 1}), (["b.c", "a"], {"a": 1, "b": {"c": 2}}), (["b.d.e"], {"b": {"d": {"e": 3}}}),
        (["b", "b.c"], {"b": data["b"]}), (["b.c", "b"], {"b": data["b"]}), (["g.h"], {"g": [{"h": 5}, {"h": 7}]}),
        (["b.d", "b.d.e"], {"b": {"d": data["b"]["d"]}}), (["n.x"], {"n": None}),
    ):  # fmt: skip
        assert pick(data, tree_of(names)) == picked, names


def test_one_object_and_lists_have_the_chosen_fields_only(caller, rig):
    path = submit(caller).headers["Location"]
    rig.run()
    whole = caller.get(path).json
    some = caller.get(f"{path}?fields=status,steps.name,steps.tries.outcome,usage.tokens").json
    step = {"name": "twice", "tries": [{"outcome": "succeeded"}]}
    assert some == {"status": "succeeded", "steps": [step], "usage": {}}
    page = caller.get(f"{JOBS}?fields=id,output").json
    assert page == {"items": [{"id": whole["id"], "output": whole["output"]}], "next_cursor": None}
    everything = ",".join(JobOut().fields)
    assert caller.get(f"{path}?fields={everything}").json == whole


def test_every_kind_of_list_takes_fields(app, caller, rig):
    paths = [
        path for path, operations in app.test_client().get("/api/v1/openapi.json").json["paths"].items()
        for parameter in operations.get("get", {}).get("parameters", ()) if parameter.get("name") == "fields"
    ]  # fmt: skip
    assert {JOBS, "/api/v1/schedules", "/api/v1/batches", "/api/v1/webhook-endpoints", DELIVERIES} <= set(paths)
    for path in paths:
        if "{" not in path and "/system/" not in path:  # test_audit_platform.py
            refused = caller.get(f"{path}?fields=id,nothing.at.all")
            [error] = refused.json["errors"]
            assert (error["pointer"], error["rule"], error["value"]) == ("/fields", "unknown-field", "nothing.at.all")
            assert "known are id, " in error["message"]
            assert caller.get(f"{path}?fields=id").status_code == 200


@pytest.mark.parametrize("query", ["fields=", "fields=id,,agent", "fields=id.x", "fields=ID", "field=id"])
def test_fields_that_are_none_are_refused(caller, rig, query):
    path = submit(caller).headers["Location"]
    assert caller.get(f"{path}?{query}").status_code == 422


def test_no_field_is_told_that_the_whole_would_not_tell(caller):
    made = caller.post("/api/v1/webhook-endpoints", json={"url": HOOK, "headers": {"X-Secret": "s3cret"}})
    path = f"/api/v1/webhook-endpoints/{made.json['id']}"
    assert "s3cret" not in caller.get(f"{path}?fields=headers").text
    for hidden in ("secret", "team_id", "signing"):
        assert caller.get(f"{path}?fields={hidden}").status_code == 422
    assert set(fields_of(JobOut())).isdisjoint({"team_id", "links.self"})


def test_fields_of_its_own_cost_one_look_up(caller, rig, statements):
    path = submit(caller).headers["Location"]
    statements.clear()
    caller.get(path)
    whole = len(statements)
    statements.clear()
    assert caller.get(f"{path}?fields=status,progress").json == {"status": "queued", "progress": 0.0}
    assert len(statements) == 1 < whole  # its row


# --- include


def test_a_list_with_steps_shows_each_job_as_it_is_by_itself(app, caller, rig):
    made = [submit(caller, action).json["id"] for action in ("double", "ask", "double")]
    rig.run()
    submit(Caller(app, team="other"))
    page = caller.get(f"{JOBS}?include=steps&fields=id,steps,question").json["items"]
    alone = [caller.get(f"{JOBS}/{one}?fields=id,steps,question").json for one in reversed(made)]
    assert page == alone
    assert page[1]["question"]["prompt"] == "How many?"
    assert caller.get(f"{JOBS}?fields=steps").json["items"][0] == {"steps": []}


def test_what_is_included_costs_the_same_for_many_as_for_one(caller, rig, statements):
    caller.post("/api/v1/webhook-endpoints", json={"url": HOOK})
    costs = []
    for _ in range(2):
        submit(caller)
        rig.run()
        statements.clear()
        assert caller.get(f"{JOBS}?include=steps,deliveries").status_code == 200
        assert caller.get(f"{DELIVERIES}?include=attempts").status_code == 200
        costs.append(len(statements))
        submit(caller)
    assert costs[0] == costs[1]


def test_a_job_shows_the_deliveries_about_it(caller, rig):
    caller.post("/api/v1/webhook-endpoints", json={"url": HOOK, "event_types": ["job.succeeded"]})
    job, other = (submit(caller).json["id"] for _ in range(2))
    rig.run()
    [told] = caller.get(f"{JOBS}/{job}?include=deliveries").json["deliveries"]
    assert (told["event_type"], told["status"]) == ("job.succeeded", "pending")
    listed = {one["id"]: one["deliveries"] for one in caller.get(f"{JOBS}?include=deliveries").json["items"]}
    assert listed[job] == [told]
    assert [one["id"] for one in listed[other]] != [told["id"]]
    assert "deliveries" not in caller.get(f"{JOBS}/{job}").json


def test_deliveries_show_their_tries_when_asked(caller, rig):
    caller.post("/api/v1/webhook-endpoints", json={"url": HOOK, "event_types": ["job.succeeded"]})
    submit(caller)
    rig.run()
    delivery = caller.get(DELIVERIES).json["items"][0]
    rig.sql(
        "INSERT INTO webhook_attempts (id, team_id, delivery_id, number, delivered, started_at, duration_ms, timings,"
        " request_headers) SELECT replace(id, 'whd_', 'wha_'), team_id, id, 1, false, now(), 5, '{}', '{}'"
        " FROM webhook_deliveries"
    )
    assert delivery["attempts"] == []
    [shown] = caller.get(f"{DELIVERIES}?include=attempts").json["items"]
    assert shown == caller.get(f"{DELIVERIES}/{delivery['id']}").json
    assert len(shown["attempts"]) == 1


@pytest.mark.parametrize(
    ("query", "pointer", "rule"),
    [("include=events", "/include", "enum"), ("include=steps&limit=51", "/limit", "range")],
)
def test_what_cannot_be_included_is_named(caller, rig, query, pointer, rule):
    [error] = caller.get(f"{JOBS}?{query}").json["errors"]
    assert (error["pointer"], error["rule"]) == (pointer, rule)
