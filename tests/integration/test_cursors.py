"""Pages of lists: signed cursors, good for their own list only; no item twice and none lost, whatever comes."""

import base64

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agora.errors import Invalid
from agora.ids import new_id
from agora.paging import BY_CREATION, seal, unseal
from agora.schedules import service as schedules
from agora.schedules.types import ORDERS
from api.app import create_app
from bench.plans import watched
from tests.support.caller import Caller
from tests.support.probe import submit

JOBS, SCHEDULES, ENDPOINTS = "/api/v1/jobs", "/api/v1/schedules", "/api/v1/webhook-endpoints"
OF = ["team_1", JOBS, {}, {"sort": "-created_at"}]
NO_ORDER = {
    "/api/v1/jobs/<job_id>/items": "in input order", "/api/v1/bulk/<bulk_id>/items": "in order of their ids",
    "/api/v1/webhook-endpoint-export": "oldest first, as an import wants them",
}  # fmt: skip
"""Lists of one order, with the reason."""


def lists():
    """Every route that gives pages, with its orders."""
    document = create_app().test_client().get("/api/v1/openapi.json").json
    for path, operations in document["paths"].items():
        named = {one.get("name"): one for one in operations.get("get", {}).get("parameters", ())}
        if "cursor" in named:
            orders = named["sort"]["schema"]["enum"] if "sort" in named else [None]
            yield path.replace("{", "<").replace("}", ">"), orders


LISTS = dict(lists())
OF_THE_PLATFORM = "/api/v1/system/"
"""Administrators' lists: test_administrators.py."""


def rule_of(answer):
    assert answer.status_code == 422, answer.json
    [error] = answer.json["errors"]
    return error["pointer"], error["rule"]


# --- the cursor itself


@given(st.text(min_size=1, max_size=80), st.integers(0, 10_000))
@settings(deadline=None, database=None)
def test_what_was_sealed_comes_back_and_nothing_else_is_taken(environment, position, at):
    position = position.encode("utf-8", "ignore").decode()
    cursor = seal(position, OF)
    assert unseal(cursor, OF) == position
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    raw[at % len(raw)] ^= 1 << at % 8
    flipped = base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")
    for forged in (flipped, cursor[:-1], cursor + "A", cursor + "=", f" {cursor}", position, cursor.swapcase()):
        with pytest.raises(Invalid, match="no cursor of this server"):
            unseal(forged, OF)


@pytest.mark.parametrize(
    "of", [["team_2", *OF[1:]], ["team_1", SCHEDULES, *OF[2:]], [*OF[:2], {"job_id": "job_1"}, OF[3]],
           [*OF[:3], {"sort": "created_at"}], [*OF[:3], {"sort": "-created_at", "status": ["failed"]}]],
)  # fmt: skip
def test_a_cursor_is_good_for_its_own_list_only(environment, of):
    with pytest.raises(Invalid, match="of another list"):
        unseal(seal("job_1", OF), of)


def test_a_cursor_outlives_a_change_of_the_secret_key(setting):
    setting("AGORA_SECRET_KEY", "a" * 40)
    cursor = seal("job_1", OF)
    setting("AGORA_SECRET_KEY", "b" * 40)
    with pytest.raises(Invalid):
        unseal(cursor, OF)
    setting("AGORA_SECRET_KEY_OLD", "a" * 40)
    assert unseal(cursor, OF) == "job_1"
    assert seal("job_1", OF) != cursor


# --- over HTTP


def test_every_list_has_signed_cursors_and_an_order(caller, rig):
    assert set(LISTS) >= {JOBS, SCHEDULES, ENDPOINTS, "/api/v1/files", "/api/v1/batches", "/api/v1/holds"}
    for path, orders in LISTS.items():
        if path.startswith(OF_THE_PLATFORM):
            continue
        url = path.replace("<job_id>", submit(caller).json["id"]).replace("<bulk_id>", "blk_1")
        url += "?step=twice&" if "items" in url and "job_id" in path else "?"
        for forged in ("job_01h455vb4pex5vsknk084sn02q", "x", "%00", seal("job_1", OF)):
            assert rule_of(caller.get(f"{url}cursor={forged}"))[0] == "/cursor", path
        assert (orders == [None]) is (path in NO_ORDER)
        if orders != [None]:
            assert rule_of(caller.get(f"{url}sort=priority")) == ("/sort", "enum")


def test_a_cursor_of_another_filter_order_or_team_is_refused(app, caller, rig):
    for _ in range(3):
        submit(caller)
    cursor = caller.get(f"{JOBS}?limit=1&status=queued&status=failed").json["next_cursor"]
    same = caller.get(f"{JOBS}?limit=2&status=failed&status=queued&fields=id&cursor={cursor}")
    assert len(same.json["items"]) == 2
    for other in ("status=queued", "status=queued&status=failed&sort=created_at", "agent=probe", ""):
        assert rule_of(caller.get(f"{JOBS}?{other}&cursor={cursor}")) == ("/cursor", "cursor")
    stranger = Caller(app, team="other")
    assert rule_of(stranger.get(f"{JOBS}?status=queued&status=failed&cursor={cursor}")) == ("/cursor", "cursor")


def test_the_same_moment_in_another_zone_is_the_same_filter(caller, rig):
    for _ in range(2):
        submit(caller)
    cursor = caller.get(f"{JOBS}?limit=1&created_after=2020-01-01T00:00:00Z").json["next_cursor"]
    same = caller.get(f"{JOBS}?created_after=2020-01-01T02:00:00%2B02:00&cursor={cursor}")
    assert len(same.json["items"]) == 1


@pytest.mark.parametrize("sort", BY_CREATION)
def test_jobs_that_come_and_go_meanwhile_shift_nothing(caller, rig, sort):
    first = [submit(caller).json["id"] for _ in range(9)]
    gone = {first[2], first[6]}
    seen, cursor = [], ""
    while True:
        page = caller.get(f"{JOBS}?limit=2&sort={sort}{cursor}").json
        seen += [one["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        assert len(seen) < 60
        cursor = f"&cursor={page['next_cursor']}"
        if len(seen) < 8:
            submit(caller)
        for row in gone - set(seen):
            rig.sql("DELETE FROM jobs WHERE id = :id", id=row)
    assert seen == sorted(seen, reverse=sort.startswith("-"))
    assert len(seen) == len(set(seen))
    assert set(first) - gone <= set(seen)


NAMES = st.lists(st.text("abXY09._-", min_size=1, max_size=3).map("n{}".format), unique=True, max_size=6)


@given(st.sampled_from(ORDERS), st.integers(1, 4), NAMES, st.lists(NAMES, max_size=4))
@settings(
    max_examples=10, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_whatever_is_inserted_between_pages_no_schedule_comes_twice_or_is_lost(caller, rig, sort, limit, first, later):
    def insert(names):
        rig.sql(
            "INSERT INTO schedules (id, team_id, name, agent, action, input, every)"
            " SELECT id, :team, name, 'probe', 'double', '{}', 3600"
            " FROM unnest(CAST(:ids AS text[]), CAST(:names AS text[])) AS n (id, name) ON CONFLICT DO NOTHING",
            ids=[new_id("sch") for _ in names], names=names, team=caller.team_id,
        )  # fmt: skip

    rig.sql("DELETE FROM schedules")
    insert(first)
    seen, position, coming = [], None, list(later)
    for _ in range(50):
        page = schedules.list_schedules(team_id=caller.team_id, limit=limit, cursor=position, sort=sort)
        seen += [one.name for one in page.items]
        position = page.next_cursor
        if position is None:
            break
        insert(coming.pop() if coming else [])
    assert position is None
    assert len(seen) == len(set(seen))
    assert set(first) <= set(seen)


# --- no order without an index


MUST_USE_INDEXES = {"enable_seqscan": "off", "enable_sort": "off"}
IN_AUTH = "/api/v1/audit"
"""It is in the other database, where each request also looks up who calls."""


def is_ordered_by_an_index(plans):
    found = [node["Node Type"] for plan in plans for node in plan.nodes()]
    return any("Index" in one for one in found) and not [one for one in found if "Sort" in one or one == "Seq Scan"]


def test_every_order_has_an_index(caller, rig):
    submit(caller)
    with watched(settings=MUST_USE_INDEXES) as plans:
        for path, sort in ((path, one) for path, orders in LISTS.items() for one in orders if one):
            if path.startswith(OF_THE_PLATFORM) or path == IN_AUTH:
                continue
            plans.clear()
            assert caller.get(f"{path}?sort={sort}").status_code == 200
            assert is_ordered_by_an_index(plans), (path, sort)


@pytest.mark.parametrize("sort", LISTS[IN_AUTH])
def test_each_order_of_the_audit_log_has_an_index(caller, sort):
    with watched(settings=MUST_USE_INDEXES, database="auth") as plans:
        assert caller.get(f"{IN_AUTH}?sort={sort}").status_code == 200
        assert is_ordered_by_an_index([plan for plan in plans if "FROM audit_entries" in plan.statement])
