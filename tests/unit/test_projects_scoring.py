"""Maturity, coverage, gaps and readiness: the formulas, by example and by property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.projects.scoring import READY, coverage, gaps, maturity, readiness, score

TARGETS = {"goals": 10.0, "requirements": 15.0, "security": 5.0}
held = st.lists(st.tuples(st.sampled_from(sorted(TARGETS)), st.floats(0, 1)), max_size=60)


def test_maturity_caps_each_category_at_its_target() -> None:
    assert maturity(TARGETS, []) == 0
    assert maturity(TARGETS, [("security", 1.0)] * 50) == round(100 * 5 / 30)
    assert maturity(TARGETS, [("goals", 0.5)] * 4 + [("security", 1.0)] * 3) == round(100 * 5 / 30)
    everything = [(name, 1.0) for name, target in TARGETS.items() for _ in range(int(target))]
    assert maturity(TARGETS, everything) == 100


def test_coverage_counts_categories() -> None:
    assert coverage(TARGETS, []) == 0
    assert coverage(TARGETS, [("goals", 0.4), ("goals", 1.0)]) == pytest.approx(1 / 3)


def test_gaps_are_worst_first_and_ties_in_order() -> None:
    found = gaps(TARGETS, [("requirements", 1.0)] * 3)
    assert [gap.category for gap in found] == ["goals", "security", "requirements"]
    assert found[2].share == pytest.approx(0.2)
    assert found[2].specifications == 3
    assert gaps(TARGETS, [(name, 1.0) for name in TARGETS for _ in range(15)]) == ()


def test_readiness_weights() -> None:
    assert readiness(coverage=1, mean_confidence=1, maturity=100) == pytest.approx(1)
    assert readiness(coverage=0.8, mean_confidence=0.9, maturity=40) == pytest.approx(0.35 * 0.8 + 0.35 * 0.9 + 0.12)
    assert READY == 0.70


def test_unknown_categories_and_confidences_are_refused() -> None:
    with pytest.raises(ValueError, match="'style' is not one of goals, requirements, security"):
        maturity(TARGETS, [("style", 1.0)])
    with pytest.raises(ValueError, match=r"0 to 1, not 1\.5"):
        score(TARGETS, [("goals", 1.5)])


@given(pairs=held)
def test_figures_stay_in_range_and_order_does_not_matter(pairs: list[tuple[str, float]]) -> None:
    scores = score(TARGETS, pairs)
    assert 0 <= scores.maturity <= 100
    assert 0 <= scores.coverage <= 1
    assert 0 <= scores.readiness <= 1
    again = score(TARGETS, list(reversed(pairs)))
    assert abs(scores.maturity - again.maturity) <= 1
    assert scores.coverage == again.coverage


@given(pairs=held, extra=st.tuples(st.sampled_from(sorted(TARGETS)), st.floats(0, 1)))
def test_one_more_specification_never_lowers_maturity(pairs: list[tuple[str, float]], extra: tuple[str, float]) -> None:
    assert maturity(TARGETS, [*pairs, extra]) >= maturity(TARGETS, pairs)
