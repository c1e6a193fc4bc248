"""The rules of the house that no linter knows."""

import ast
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for room in ("platform/agora", "workers", "api", "domains")
    for path in sorted((ROOT / room).rglob("*.py"))
    if "migrations" not in path.parts
]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}

SQL_CALLS = {"select", "insert", "update", "delete", "text"}

NOT_SCOPED = {
    "agora/jobs/intake_queries.py": "inserts only: jobs that come at once, of which each names its team",
    "agora/audit/queries.py:insert_entries": "inserts only: each entry names its team",
    "agora/audit/queries.py:insert_of_user": "inserts only: of a user, whose teams come later",
    "agora/audit/queries.py:lock_of_users": "the dispatcher works for all teams",
    "agora/audit/queries.py:forget_of_users": "of entries that lock_of_users has just found",
    "agora/audit/queries.py:lock_outbox": "the dispatcher works for all teams",
    "agora/audit/queries.py:insert_copied": "the dispatcher works for all teams",
    "agora/audit/queries.py:forget_copied": "of entries that lock_outbox has just found",
    "agora/audit/queries.py:allow_removal": "a setting of the transaction, no rows",
    "agora/audit/chain_queries.py:list_unchained": "the dispatcher works for all teams",
    "agora/audit/chain_queries.py:list_oldest": "retention works for all teams",
    "agora/audit/chain_queries.py:list_chained": "the operator checks all chains",
    "agora/db/partition_queries.py": "tables, not rows of a team",
    "agora/dispatcher/queries.py": "the dispatcher works for all teams",
    "agora/jobs/catalogue_queries.py": "the catalogue and the workers are shared by all teams",
    "agora/webhooks/delivery_queries.py": "the sender works for all teams; rows are guarded by their lease token",
    "agora/webhooks/watch_queries.py": "what operators watch concerns all teams, and shows counts only",
    "agora/webhooks/portal_queries.py:forget_links": "retention works for all teams",
    "agora/webhooks/portal_queries.py:find_link_by_hash": "it is how a visitor's team is found out",
    "agora/webhooks/backstop_queries.py": "the sender and the dispatcher work for all teams",
    "agora/webhooks/drain_queries.py": "the dispatcher works for all teams",
    "agora/webhooks/order_queries.py": "the sender and the dispatcher work for all teams",
    "agora/webhooks/replay_queries.py:lock_next": "the dispatcher works for all teams",
    "agora/webhooks/replay_queries.py:advance": "of a replay that lock_next has just locked",
    "agora/webhooks/replay_queries.py:end": "of a replay that was just locked for its team",
    "agora/webhooks/replay_queries.py:forget_replays": "retention works for all teams",
    "agora/webhooks/fan_out_queries.py:next_team": "the dispatcher works for all teams",
    "agora/webhooks/key_queries.py:forget_expired": "retention works for all teams",
    "agora/webhooks/key_queries.py:lock_sealed": "encrypting anew concerns all teams",
    "agora/webhooks/key_queries.py:reseal": "of rows that lock_sealed has just found",
    "agora/jobs/step_queries.py": "a worker's statements are guarded by step id and fence",
    "agora/jobs/item_queries.py": "a worker's statements are guarded by step id and fence",
    "agora/jobs/child_queries.py:find_over": "guarded by the ids of jobs that a worker has ended",
    "agora/jobs/child_queries.py:find_any_over": "the dispatcher works for all teams",
    "agora/jobs/child_queries.py:find_waiting": "a step that find_over has just found",
    "agora/jobs/usage_queries.py:add_usage": "guarded by step id and fence",
    "agora/jobs/record_queries.py": "a worker's statements are guarded by step id and fence",
    "agora/jobs/limit_queries.py": "admission goes by scopes, which name their team, and compares teams",
    "agora/jobs/unique_queries.py:forget_unique": "retention works for all teams",
    "agora/jobs/setting_queries.py:pause_queue": "queues are shared by all teams",
    "agora/jobs/setting_queries.py:resume_queue": "queues are shared by all teams",
    "agora/jobs/setting_queries.py:list_queues": "queues are shared by all teams",
    "agora/jobs/ring_queries.py": "one doorbell for all teams",
    "agora/quotas/queries.py:list_tiers": "tiers are for all teams",
    "agora/quotas/queries.py:upsert_tier": "tiers are for all teams",
    "agora/quotas/queries.py:find_tier": "tiers are for all teams",
    "agora/quotas/queries.py:has_tier": "tiers are for all teams",
    "agora/identity/user_queries.py": "users belong to no team; they find their own row, or the operator does",
    "agora/identity/admin_queries.py": "administrators see all teams and users: who they are, and counts",
    "agora/jobs/platform_queries.py": "administrators see all teams: counts only",
    "agora/identity/external_queries.py": "of a user, who belongs to no one team; found by what the provider signs",
    "agora/identity/recovery_queries.py": "of a user, who belongs to no one team",
    "agora/identity/session_queries.py": "sessions are a user's, found by what only they have",
    "agora/identity/member_queries.py:list_teams": "of the user who asks",
    "agora/identity/member_queries.py:lock_invitation": "found by a signed token, which covers the team",
    "agora/identity/use_queries.py:add_uses": "inserts only: uses of several teams, of which each names its own",
    "agora/identity/use_queries.py:total_uses": "what operators watch concerns all teams, and shows counts only",
    "agora/identity/use_queries.py:count_pinned": "what operators watch concerns all teams, and shows counts only",
    "agora/identity/queries.py:find_key_by_hash": "it is how a caller's team is found out",
    "agora/identity/queries.py:touch_key": "of a key that was just found by its hash",
    "agora/batches/queries.py:find_to_cancel": "the dispatcher works for all teams",
    "agora/batches/queries.py:list_open": "the dispatcher works for all teams",
    "agora/batches/queries.py:complete": "the dispatcher works for all teams",
    "agora/schedules/queries.py:find_due": "the dispatcher works for all teams",
    "agora/schedules/queries.py:hold_due": "the dispatcher works for all teams",
    "agora/schedules/queries.py:current_time": "no rows at all",
    "agora/schedules/queries.py:forget_runs": "retention works for all teams",
    "agora/bulk/queries.py:lease_next": "the dispatcher works for all teams",
    "agora/bulk/queries.py:advance": "the dispatcher works for all teams",
    "agora/idempotency/queries.py:forget_keys": "retention works for all teams",
    "agora/retention/removal_queries.py": "retention works for all teams",
    "agora/retention/leftover_queries.py": "retention works for all teams",
    "agora/retention/queries.py:wait_for_removals": "a lock, no rows",
}
"""Query modules and functions without team_id, each with its reason."""


def name_of(path):
    return str(path.relative_to(ROOT)).removeprefix("platform/")


def test_platform_is_a_source_root_and_no_package():
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert hasattr(platform, "python_version")
    assert Path(platform.__file__).parent != ROOT / "platform"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_modules_and_functions_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = [
                one for one in node.body if not isinstance(one, ast.Expr) or not isinstance(one.value, ast.Constant)
            ]
            length = (node.end_lineno or 0) - (body[0].lineno if body else node.lineno) + 1
            assert length <= 50, f"{node.name} has {length} lines"


def test_test_modules_stay_readable():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_settings_reads_the_environment(path):
    if name_of(path) == "agora/settings.py":
        return
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr not in {"environ", "getenv", "putenv"}, f"line {node.lineno}"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name.endswith("queries.py")], ids=name_of)
def test_queries_name_their_team_and_never_commit(path):
    for node in TREES[path].body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        keywords = [argument.arg for argument in node.args.kwonlyargs]
        arguments = [argument.arg for argument in node.args.args]
        if arguments[:1] != ["session"]:
            continue
        excused = name_of(path) in NOT_SCOPED or f"{name_of(path)}:{node.name}" in NOT_SCOPED
        assert excused or "team_id" in keywords, f"{node.name} must take team_id as a keyword"
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"commit", "begin"}, f"line {node.lineno}: queries never commit"


@pytest.mark.parametrize("path", [p for p in SOURCES if not p.name.endswith(("queries.py", "models.py"))], ids=name_of)
def test_sql_lives_in_queries(path):
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            runs = node.func.attr in {"execute", "scalar", "scalars", "exec_driver_sql"}
            if runs and node.args and isinstance(node.args[0], ast.Call):
                called = node.args[0].func
                name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
                assert name not in SQL_CALLS, f"line {node.lineno}: SQL outside a queries module"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name.endswith("models.py")], ids=name_of)
def test_tables_know_those_that_they_refer_to(path):
    """Also in a process that has imported nothing else, such as a command's: it could not insert a row."""
    module = name_of(path).removesuffix(".py").replace("/", ".")
    code = (
        f"import {module}; from agora.db.types import AuthBase, Base\n"
        "tables = [one for base in (AuthBase, Base) for one in base.metadata.tables.values()]\n"
        "print(len(tables), [key.column.name for table in tables for key in table.foreign_keys])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]


def test_excuses_are_needed():
    """An excuse for a module that is gone must go as well."""
    for excuse in NOT_SCOPED:
        assert (ROOT / "platform" / excuse.split(":")[0]).exists(), excuse
