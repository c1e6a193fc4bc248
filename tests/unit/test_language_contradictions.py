"""Contradictions: which pairs are reported, with which severity, and which are not."""

from functools import cache
from itertools import pairwise

import pytest

from agora.language.embedded import EmbeddedAnalyst
from agora.language.ports import CONTRADICTIONS, Candidate, Contradiction, Passage
from domains.loader import load_domain


@cache
def analyst() -> EmbeddedAnalyst:
    return EmbeddedAnalyst(load_domain("base").lexicon)


def find(*sentences: str) -> list[Contradiction]:
    passages, start = [], 0
    for index, text in enumerate(sentences):
        passages.append(Passage(index=index, text=text, start=start, end=start + len(text), heading="Requirements"))
        start += len(text) + 2
    candidates = analyst().extract(passages)
    assert [c.content for c in candidates] == list(sentences)
    return analyst().contradictions(candidates)


@pytest.mark.parametrize(
    ("left", "right", "subject", "severity"),
    [
        (
            "The shop must be available 99.9 % of the time.",
            "The shop will be offline every night from 1:00 to 5:00 for maintenance.",
            "requirement",
            "critical",
        ),
        (
            "Availability must be 99.5 % per month.",
            "Planned maintenance takes two hours every Sunday.",
            "requirement",
            "high",
        ),
        ("Audit logs must be kept for 7 years.", "Audit logs must be deleted after 30 days.", "requirement", "high"),
        ("Order data must be kept for 30 days.", "Order data must be kept for 7 years.", "requirement", "high"),
        (
            "Access logs must be kept for one year.",
            "Access logs must not be stored for more than 30 days.",
            "requirement",
            "high",
        ),
        (
            "The search must respond within 2 seconds.",
            "The search must respond in at least 5 seconds.",
            "requirement",
            "high",
        ),
        (
            "The search must respond within 500 ms.",
            "The search must respond within 2 seconds.",
            "requirement",
            "medium",
        ),
        ("The database must be PostgreSQL.", "The database must be MySQL.", "technology", "high"),
        (
            "The system shall be built as microservices.",
            "The system shall be one modular monolith.",
            "technology",
            "high",
        ),
        ("The backend must use Redis.", "The backend must not use Redis.", "technology", "high"),
        ("Guests must be able to pay by credit card.", "Guests must not pay by credit card.", "requirement", "high"),
        (
            "The first release must be live by 1 May 2027.",
            "The first release is due on 15 June 2027.",
            "timeline",
            "high",
        ),
        ("No more than 15 minutes of data may be lost.", "Backups must be made every night.", "requirement", "medium"),
    ],
)
def test_found_with_both_sentences(left: str, right: str, subject: str, severity: str) -> None:
    found = find(left, right)
    assert [(each.left.content, each.right.content) for each in found] == [(left, right)]
    assert (found[0].subject, found[0].severity) == (subject, severity)
    assert found[0].explanation


@pytest.mark.parametrize(
    "sentences",
    [
        ("The shop must be available 99 % of the time.", "Planned maintenance takes one hour every month."),
        (
            "The shop must be available 99.9 % of the time, excluding planned maintenance.",
            "Maintenance takes four hours every night.",
        ),
        ("Audit logs must be kept for 30 days.", "Audit logs must be deleted after 7 years."),
        ("Audit logs must be kept for 7 years.", "Baskets must be deleted after 30 days."),
        ("The search must respond within 1000 ms.", "The search must respond within 1 second."),
        (
            "The search must respond within 2 s in 95 % of cases.",
            "The search must respond within 5 s in 99 % of cases.",
        ),
        ("The search must respond within 2 seconds.", "The yearly report must be ready within 5 minutes."),
        ("Orders must be stored in PostgreSQL.", "Sensor readings must be stored in MongoDB."),
        ("The database must be PostgreSQL.", "The database must be backed up every night."),
        ("Guests must be able to pay by credit card.", "Guests must not see the price of other guests."),
        ("The pilot must be live by 1 May 2027.", "The mobile app is due on 15 June 2027."),
        ("No more than 24 hours of data may be lost.", "Backups must be made every night."),
    ],
)
def test_what_goes_together_is_not_reported(sentences: tuple[str, str]) -> None:
    assert find(*sentences) == []


def test_two_databases_where_one_is_demanded() -> None:
    found = find(
        "All data must live in one single database.",
        "Bookings must be stored in PostgreSQL.",
        "Sensor events must be stored in MongoDB.",
    )
    assert len(found) == 1
    assert (found[0].left.value, found[0].right.value) == ("PostgreSQL", "MongoDB")
    assert "one single database" in found[0].explanation


def test_gravest_first_and_each_pair_once() -> None:
    found = find(
        "The search must respond within 500 ms.",
        "The search must respond within 2 seconds.",
        "The shop must be available 99.99 % of the time.",
        "The shop is offline every night from 1:00 to 5:00 for maintenance.",
    )
    assert [each.severity for each in found] == ["critical", "medium"]
    pairs = [(each.left.content, each.right.content) for each in found]
    assert len(set(pairs)) == len(pairs)


def test_needs_only_category_and_content() -> None:
    found = find("The database must be PostgreSQL.", "The database must be MySQL.")
    adapter = CONTRADICTIONS
    again = adapter.validate_json(adapter.dump_json(found))
    assert analyst().contradictions([again[0].left, again[0].right]) == found


@pytest.mark.no_cover  # tracing would take most of its time
def test_many_candidates_end_soon() -> None:
    candidates = [
        each
        for start in range(0, 3000, 2)
        for each in find_one(f"Widget {start} must respond within {start + 1} s.", f"Gadget {start} must not be sold.")
    ]
    assert len(candidates) == 3000
    found = analyst().contradictions(candidates)
    assert len(found) <= 200
    ranks = ["critical", "high", "medium", "low"]
    assert all(ranks.index(a.severity) <= ranks.index(b.severity) for a, b in pairwise(found))


def find_one(*texts: str) -> list[Candidate]:
    return analyst().extract([Passage(index=i, text=text, start=0, end=len(text)) for i, text in enumerate(texts)])
