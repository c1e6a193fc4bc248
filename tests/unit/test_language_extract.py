"""What the embedded analyst finds, measured on documents that were annotated by hand before it was run on them."""

import json
import re
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora.documents.model import Document
from agora.documents.read import read_document
from agora.language.embedded import EmbeddedAnalyst
from agora.language.ports import CANDIDATES, Candidate, Layout, Passage
from domains.loader import load_domain

DATA = Path(__file__).parent.parent / "data" / "documents"
RECALL, PRECISION = 0.85, 0.80


@cache
def analyst() -> EmbeddedAnalyst:
    return EmbeddedAnalyst(load_domain("base").lexicon)


def extract(text: str, *, heading: str = "", layout: Layout = "paragraph") -> list[Candidate]:
    passage = Passage(index=0, text=text, start=0, end=len(text), heading=heading, layout=layout)
    return analyst().extract([passage])


def one(text: str, *, heading: str = "", layout: Layout = "paragraph") -> Candidate:
    found = extract(text, heading=heading, layout=layout)
    assert len(found) == 1, found
    return found[0]


@dataclass(frozen=True)
class Measure:
    recall: float
    precision: float
    category: float


def spans(document: Document, sentences: list[dict[str, str | None]]) -> list[tuple[int, int]]:
    position, found = 0, []
    for entry in sentences:
        words = re.findall(r"\w+", entry["sentence"] or "")
        match = re.compile(r"\W+".join(map(re.escape, words))).search(document.text, position)
        assert match, f"not in the document: {entry['sentence']}"
        found.append(match.span())
        position = match.start()
    return found


def measure(name: str) -> Measure:
    annotation = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    path = DATA / annotation["document"]
    document = read_document(path.read_bytes(), None, path.name)
    candidates = analyst().extract(document.passages)
    wanted = found = right = 0
    hits: set[str] = set()
    for entry, (start, end) in zip(annotation["sentences"], spans(document, annotation["sentences"]), strict=True):
        here = [c for c in candidates if c.span and c.span.start < end and c.span.end > start]
        if entry["category"]:
            wanted += 1
            found += bool(here)
            right += any(c.category == entry["category"] for c in here)
            hits.update(c.key for c in here)
    return Measure(found / wanted, len(hits) / len(candidates), right / found)


@pytest.mark.parametrize("name", ["depot-srs", "parcels-minutes", "map-archive-rfp", "loan-desk", "voice-picking"])
def test_recall_and_precision_on_annotated_documents(name: str) -> None:
    measured = measure(name)
    assert measured.recall >= RECALL, measured
    assert measured.precision >= PRECISION, measured


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("depot-srs", 0.9),
        ("parcels-minutes", 0.85),
        ("map-archive-rfp", 0.85),
        ("loan-desk", 0.8),
        ("voice-picking", 0.5),
    ],
)
def test_categories_on_annotated_documents(name: str, least: float) -> None:
    assert measure(name).category >= least


def test_annotations_hold_plenty_of_both() -> None:
    for name in ("depot-srs", "parcels-minutes", "map-archive-rfp"):
        sentences = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))["sentences"]
        kinds = [entry["category"] is None for entry in sentences]
        assert 35 <= len(kinds) <= 60
        assert sum(kinds) >= 15


@pytest.mark.parametrize(
    ("text", "category", "key", "value"),
    [
        ("The search shall respond within 2 seconds.", "performance", "performance.response_time", "<= 2 s"),
        ("Latency must stay below 250 ms.", "performance", "performance.response_time", "< 250 ms"),
        (
            "The shop must serve at least 5,000 concurrent users.",
            "scalability",
            "scalability.concurrent_users",
            ">= 5000 users",
        ),
        (
            "The service must be available 99.9 % of the time.",
            "disaster_recovery",
            "disaster_recovery.availability",
            "99.9%",
        ),
        ("Invoices must be retained for ten years.", "data_retention", "data_retention.period", "10 years"),
        ("The database must be PostgreSQL.", "tech_stack", "tech_stack.database", "PostgreSQL"),
        ("All traffic must be encrypted with TLS.", "security", "security.encryption", "be encrypted with TLS"),
    ],
)
def test_category_key_and_value(text: str, category: str, key: str, value: str) -> None:
    found = one(text)
    assert (found.category, found.key, found.value) == (category, key, value)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("The system must send a receipt.", 1.0, 1.0),
        ("The system should send a receipt.", 0.8, 0.9),
        ("Backups are taken every six hours.", 0.6, 0.7),
        ("It would be nice if the list could be sorted.", 0.4, 0.5),
    ],
)
def test_confidence_follows_how_plainly_it_is_said(text: str, low: float, high: float) -> None:
    assert low <= one(text, heading="Requirements").confidence <= high


@pytest.mark.parametrize(
    "text",
    [
        "Thank you for the cake.",
        "We met on Tuesday and talked about the budget.",
        "The old system was bought in 2009.",
        '"Customer" shall mean any person who buys something.',
        "Tenders shall be submitted by noon on 3 March.",
        "See annex B for details.",
        "Regards, Ann",
        "",
        "   ",
        "???",
    ],
)
def test_background_is_left_out(text: str) -> None:
    assert extract(text) == []


def test_forms_without_a_modal_verb_are_found_in_lists() -> None:
    for text in ("Send a reminder one day before.", "Exports the list as CSV."):
        assert one(text, layout="item", heading="Features").confidence == pytest.approx(0.65, abs=0.06)


def test_user_stories_are_explicit() -> None:
    assert one("As a clerk I can undo the last step.").confidence == 1


def test_keys_are_unique_and_stable() -> None:
    text = "The search must answer within 2 s. The map must answer within 5 s. Login must answer within 1 s."
    first, again = extract(text), extract(text)
    assert [c.key for c in first] == [c.key for c in again]
    assert len({c.key for c in first}) == 3
    assert first[0].key == "performance.response_time"
    assert all(re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", c.key) for c in first)


def test_a_repeated_sentence_counts_once() -> None:
    assert len(extract("The shop must accept cards. The shop must accept cards.")) == 1


def test_numbered_keys_stay_unique() -> None:
    text = " ".join(f"The search must answer query {n} within {n} s." for n in range(1, 6))
    keys = [c.key for c in extract(text)]
    assert keys == [
        "performance.response_time",
        "performance.response_time.answer_query_search",
        "performance.response_time.answer_query_search_2",
        "performance.response_time.answer_query_search_3",
        "performance.response_time.answer_query_search_4",
    ]


@pytest.mark.no_cover  # tracing would take most of its time
def test_time_grows_with_the_length_and_not_with_its_square() -> None:
    def spent(count: int) -> float:
        text = "".join(f"Shop {n} must answer within {n % 60 + 1} s.\n" for n in range(count))
        started = time.perf_counter()
        assert len(extract(text)) == count
        return time.perf_counter() - started

    spent(100)
    assert spent(8000) < 40 * spent(800) + 0.5


def test_denial_shows_in_the_value_only_where_the_demand_is_denied() -> None:
    assert one("The portal must not use MySQL.").value == "not MySQL"
    assert one("The portal must run in Firefox without plug-ins.").value == "Firefox"


def test_sentences_keep_abbreviations_together_and_drop_labels() -> None:
    contents = [
        c.content for c in extract("REQ-12: Dr. Who must sign, e.g. by hand. The form must be kept.", layout="item")
    ]
    assert contents == ["Dr. Who must sign, e.g. by hand.", "The form must be kept."]


def test_rows_lose_their_identifier_and_priority() -> None:
    assert (
        one("F1 | Export of results as CSV | High", layout="row", heading="Features").content
        == "Export of results as CSV"
    )


def test_candidates_survive_json() -> None:
    found = extract("The search must answer within 2 s.")
    assert CANDIDATES.validate_json(CANDIDATES.dump_json(found)) == found


pieces = st.sampled_from(
    ["The system must ", "not ", "keep 5 days", " 99.9 %", ". ", "\n", "- ", "1. ", " | ", "e.g. ", "PostgreSQL ",
     "within ", "2 s", "every night from 01:00 to 05:00 ", "because ", "“", "’s ", "İ", "ß", "🦊", "\u2028",
     "10,000 users "]
)  # fmt: skip
texts = st.one_of(st.text(max_size=400), st.lists(pieces, max_size=30).map("".join))


@settings(max_examples=150, deadline=None)
@given(text=texts, layout=st.sampled_from(["paragraph", "item", "row", "code"]), offset=st.integers(0, 1000))
def test_spans_are_exact_and_nothing_crashes(text: str, layout: Layout, offset: int) -> None:
    passage = Passage(index=0, text=text, start=offset, end=offset + len(text), layout=layout)
    document = " " * offset + text
    found = analyst().extract([passage])
    assert found == analyst().extract([passage])
    for candidate in found:
        assert candidate.span is not None
        assert document[candidate.span.start : candidate.span.end] == candidate.content
        assert 0.4 <= candidate.confidence <= 1
        assert candidate.key.startswith(f"{candidate.category}.")
    assert analyst().contradictions(found) == analyst().contradictions(found)
