"""What the replay of recorded exchanges takes for a break, and what it gives names to."""

import pytest

from tests.support.recorded import Names, lost, operations_in

BEFORE = {"status": 200, "body": {"items": [{"id": "a", "n": 1}], "next": None}}


@pytest.mark.parametrize(
    ("after", "line"),
    [
        ({"status": 200, "body": {"items": [{"id": "a"}], "next": None}}, "/body/items/0/n is gone"),
        ({"status": 200, "body": {"items": [{"id": "a", "n": "1"}], "next": None}}, '/body/items/0/n: 1 became "1"'),
        ({"status": 200, "body": {"items": [{"id": "a", "n": 1.0}], "next": None}}, "/body/items/0/n: 1 became 1.0"),
        ({"status": 201, "body": {"items": [{"id": "a", "n": 1}], "next": None}}, "/status: 200 became 201"),
        ({"status": 200, "body": {"items": [], "next": None}}, '/body/items: [{"id": "a", "n": 1}] became []'),
    ],
)
def test_what_is_gone_or_another_is_a_break(after, line):
    assert lost(BEFORE, after) == [line]


def test_what_is_only_new_is_none():
    after = {"status": 200, "body": {"items": [{"id": "a", "n": 1, "m": 2}], "next": None, "total": 1}, "headers": {}}
    assert lost(BEFORE, after) == []


def test_things_keep_their_names_and_are_found_by_them():
    names, job = Names([]), "job_01m8n68v92ex4sftxqvbxqdtbs"
    told = names.put({"id": job, "links": {"self": f"/jobs/{job}"}, "at": "2026-11-30T06:00:00.12Z", "age_seconds": 3})
    assert told == {
        "id": "<job:1>", "links": {"self": "/jobs/<job:1>"}, "at": "<time>", "age_seconds": "<age_seconds>",
    }  # fmt: skip
    assert names.put("job_01m8n68v92ex4sftxqvbxqdtbt") == "<job:2>"
    assert names.put("2099-01-01T00:00:00Z") == "2099-01-01T00:00:00Z"
    assert names.take({"path": "/jobs/<job:1>"}) == {"path": f"/jobs/{job}"}


def test_what_is_new_changes_no_name_that_was_recorded():
    first, second, key = (f"key_01m8n68v92ex4sftxqvbxqdtb{end}" for end in "abc")
    recorded = [{"id": "<key:1>"}, {"id": "<key:2>", "made_by": None}]
    answered = [{"by": key, "id": first}, {"by": key, "id": second, "made_by": None}]
    names = Names(recorded)
    for one, was in zip(answered, recorded, strict=True):
        names.learn(one, was)
    assert [names.put(one) for one in answered] == [
        {"by": "<key:3>", "id": "<key:1>"}, {"by": "<key:3>", "id": "<key:2>", "made_by": None}
    ]  # fmt: skip


def test_words_for_people_may_change():
    before, after = ({"response": {"body": {"detail": text, "code": text}}} for text in "ab")
    assert lost(before, after) == ['/response/body/code: "a" became "b"']


def test_an_operation_is_recorded_when_a_request_of_its_own_succeeded():
    known = {"GET /jobs/{job_id}", "GET /jobs/recent", "POST /jobs/{job_id}/cancel"}

    def asked(method, path, status=200):
        return {"request": {"method": method, "path": path}, "response": {"status": status}}

    assert operations_in([asked("GET", "/jobs/<job:1>?fields=id")], known) == {"GET /jobs/{job_id}"}
    assert operations_in([asked("GET", "/jobs/recent")], known) == {"GET /jobs/recent"}
    assert operations_in([asked("POST", "/jobs/<job:1>/cancel", 409), asked("GET", "/nothing")], known) == set()
