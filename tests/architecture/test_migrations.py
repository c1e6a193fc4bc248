"""Migrations form one line: two engineers who took the same number at once are told here, by name."""

import re
from pathlib import Path

import pytest

VERSIONS = Path(__file__).parents[2] / "platform" / "agora" / "db" / "migrations"


def line_of(database):
    """File number, revision and the revision before it, of each migration in the order of their names."""
    found = []
    for path in sorted((VERSIONS / database / "versions").glob("[0-9]*.py")):
        text = path.read_text(encoding="utf-8")
        revision = re.search(r'^revision = "(\d+)"', text, re.MULTILINE)
        before = re.search(r'^down_revision = (?:"(\d+)"|None)', text, re.MULTILINE)
        assert revision, f"{path.name} names no revision"
        assert before, f"{path.name} names no down_revision"
        found.append((path.name[:4], revision[1], before[1]))
    return found


@pytest.mark.parametrize("database", ["main", "auth"])
def test_migrations_are_one_line_without_gaps_or_forks(database):
    numbers = [f"{n:04}" for n in range(1, len(line_of(database)) + 1)]
    assert line_of(database) == list(zip(numbers, numbers, [None, *numbers[:-1]], strict=True))
