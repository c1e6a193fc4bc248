"""The threat model is of this platform: each part of it is there by STRIDE, and each test that it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/threat-model.md").read_text()
ROW = re.compile(r"^\| ([STRIDE](?:, [STRIDE])*) \| (.*) \|$", re.MULTILINE)
ROWS = [[kinds, *(cell.strip() for cell in rest.split(" | "))] for kinds, rest in ROW.findall(PAGE)]
TEST = re.compile(r"tests/[a-z_]+/[a-z_0-9]+\.py")
COMPONENTS = (
    "HTTP", "API", "Identity", "Workers", "Documents", "files", "Dispatcher", "Webhooks", "egress", "portal", "Redis",
    "Postgres", "Command line", "Flower", "supply chain",
)  # fmt: skip


def test_every_row_says_threat_measure_test_and_rest():
    assert len(ROWS) > 50
    for row in ROWS:
        kinds, threat, measure, tests = row[:4]
        assert len(row) in {4, 5}, row
        assert set(kinds.split(", ")) <= set("STRIDE"), row
        assert threat, row
        assert measure, row
        assert TEST.search(tests), row


def test_every_named_test_exists_and_every_attack_is_named():
    named = set(TEST.findall(PAGE))
    assert [one for one in sorted(named) if not (ROOT / one).is_file()] == []
    attacks = {f"tests/security/{path.name}" for path in (ROOT / "tests/security").glob("test_*.py")}
    assert attacks - named == {"tests/security/test_threat_model.py"}


def test_every_part_has_its_rows():
    heads = " ".join(re.findall(r"^## (.+)$", PAGE, re.MULTILINE))
    assert [one for one in COMPONENTS if one not in heads] == []
    assert {kind for row in ROWS for kind in row[0].split(", ")} == set("STRIDE")
