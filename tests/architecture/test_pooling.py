"""Nothing of Agora lives in a session of Postgres beyond its transaction: a pooler may change it after each."""

import ast
import re

import pytest

from tests.architecture.test_layout import TREES, name_of

KEPT = {
    "a lock of the session": r"pg_(try_)?advisory_(lock|unlock)",
    "a subscription": r"\b(UN)?LISTEN\s+[a-z_]|\bNOTIFY\s+[a-z_]|pg_notify",
    "a setting of the session": r"set_config\([^()]*,\s*false\)|^\s*SET\s+(SESSION\s|(?!LOCAL\b)\w+\s*(=|TO)\s)",
    "a statement or cursor of the session": r"^\s*PREPARE\s|\bWITH HOLD\b|^\s*DEALLOCATE\b",
    "a table of the session": r"\bCREATE\s+TEMP(?!.*\bON COMMIT DROP\b)",
}


def statements(tree):
    """The texts in a module that may be SQL: documentation is not."""
    told = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def found(written):
    return [what for what, pattern in KEPT.items() if re.search(pattern, written, re.IGNORECASE)]


@pytest.mark.parametrize("path", TREES, ids=name_of)
def test_no_statement_keeps_anything_in_its_session(path):
    assert [(what, written) for written in statements(TREES[path]) for what in found(written)] == []


@pytest.mark.parametrize(
    "written",
    [
        "SELECT pg_advisory_lock(1)", "LISTEN jobs", "SELECT pg_notify('a', 'b')", "SET jit = off",
        "SELECT set_config('jit', 'off', false)", "PREPARE a AS SELECT 1", "CREATE TEMP TABLE a (n int)",
    ],
)  # fmt: skip
def test_what_would_be_kept_is_found(written):
    assert found(written) != []


@pytest.mark.parametrize(
    "written",
    ["SELECT pg_try_advisory_xact_lock(1)", "SET LOCAL lock_timeout = 1", "SELECT set_config('a', 'b', true)"],
)
def test_what_ends_with_the_transaction_is_not(written):
    assert found(written) == []
