"""The registry of versions, held against the policy: dates, sunsets, operations that there are."""

from datetime import date
from pathlib import Path

import pytest

from agora.api_versions import NEWEST, OLDEST, VERSIONS
from api.app import create_app
from api.versions.change import Change, Renamed, Version, all_operations, same
from api.versions.registry import MAJORS, V1, Registry

MONTHS = 12


def later_by_months(day, months):
    year, month = divmod(day.month - 1 + months, 12)
    return day.replace(year=day.year + year, month=month + 1, day=min(day.day, 28))


def test_versions_are_dates_in_order_and_the_engine_knows_the_same():
    assert V1.dates == VERSIONS == tuple(sorted({date.fromisoformat(one).isoformat() for one in VERSIONS}))
    assert (V1.oldest, V1.newest) == (OLDEST, NEWEST)
    assert OLDEST == "2026-11-23"  # the first version is never forgotten
    assert MAJORS.known == {"v1": V1}


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_an_older_version_is_answered_for_a_year_after_the_next_one_came(version):
    deprecated = V1.deprecated(version)
    assert deprecated.sunset is None or deprecated.sunset.date() >= later_by_months(deprecated.since.date(), MONTHS)


def test_the_newest_is_not_deprecated():
    assert V1.deprecated(NEWEST) is None
    assert V1.versions[0].sunset is None


def test_changes_have_names_of_their_own_and_concern_operations_that_there_are():
    app = create_app()
    changes = [change for version in V1.versions for change in version.changes]
    names = [change.name for change in changes]
    assert len(set(names)) == len(names)
    for change in changes:
        assert all_operations([change]), change.name
        assert all_operations([change]) <= app.view_functions.keys(), change.name
        assert change.description.endswith("."), change.name


def test_what_lies_between_two_versions_is_newest_first():
    changes = [Change(name=name, description="", operations=frozenset({"x"})) for name in "abc"]
    known = Registry(
        [
            Version(date="2027-03-01", changes=(changes[0],)),
            Version(date="2027-02-01", changes=(changes[1], changes[2]), sunset="2029-01-01"),
            Version(date="2027-01-01"),
        ]
    )
    assert [one.name for one in known.between("2027-01-01", "x")] == ["a", "b", "c"]
    assert [one.name for one in known.between("2027-02-01", "x")] == ["a"]
    assert (
        known.between("2027-03-01", "x") == known.between("2027-01-01", "y") == known.between("2027-01-01", None) == ()
    )
    assert known.deprecated("2027-01-01").successor == "2027-02-01"
    assert known.deprecated("2027-01-01").sunset is None
    assert [known.at(day) for day in ("2020-01-01", "2027-01-31", "2027-02-01", "2030-01-01")] == [
        "2027-01-01", "2027-01-01", "2027-02-01", "2027-03-01",
    ]  # fmt: skip


def test_a_renamed_field_is_exchanged_both_ways():
    renamed = Renamed("old", "new_name")
    body = {"old": 1, "x": {"old": 2}}
    assert renamed(body) == {"new_name": 1, "x": {"old": 2}}
    assert body == {"old": 1, "x": {"old": 2}}
    assert renamed(renamed({"old": 1, "new_name": 2})) == {"old": 1, "new_name": 2}
    untouched = {"x": 1}
    assert renamed(untouched) is untouched
    assert [renamed.pointer(one) for one in ("/new_name/0", "/old", "/older", "/x/old", "/", "")] == [
        "/old/0", "/new_name", "/older", "/x/old", "/", "",
    ]  # fmt: skip
    assert renamed.words("new_name must be old_1, not older") == "old must be old_1, not older"
    assert same(body) is body


def test_the_page_for_people_tells_of_every_version_and_sunset():
    page = (Path(__file__).resolve().parents[2] / "docs" / "versioning.md").read_text()
    for version in V1.versions:
        assert f"| `{version.date}` |" in page
        assert version.sunset is None or f"works until {version.sunset} at least" in page
    since = V1.deprecated(OLDEST).since
    assert f"`@{int(since.timestamp())}`" in page
