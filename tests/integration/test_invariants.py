"""The third layer of validation: the databases themselves refuse what would break an invariant, whoever writes.

Each constraint is broken here by SQL of its own, and none may be forgotten.
"""

from itertools import count

import pytest
from psycopg.errors import CheckViolation, ExclusionViolation, ForeignKeyViolation, UniqueViolation
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from agora.db.engines import engine

NUMBERS = count(1)
SAMPLES = {
    "text": lambda: f"x{next(NUMBERS)}", "integer": lambda: 1, "smallint": lambda: 1, "bigint": lambda: 1,
    "boolean": lambda: False, "jsonb": lambda: "{}", "numeric": lambda: 1, "double precision": lambda: 1.0,
    "bytea": lambda: next(NUMBERS).to_bytes(32), "ARRAY": lambda: ["x"],
    "timestamp with time zone": lambda: "2099-01-01T00:00:00Z",
    "timestamp without time zone": lambda: "2099-01-01T00:00:00", "email": lambda: f"x{next(NUMBERS)}@b",
}  # fmt: skip
NOW = "2026-01-01T00:00:00Z"
VALID = {
    "jobs": {"status": "queued"}, "steps": {"status": "ready"}, "files": {"sha256": "a" * 64},
    "schedules": {"every": 60.0}, "schedule_runs": {"outcome": "missed"}, "erasures": {"team_name": "t"},
    "holds": {"metadata": '{"a": 1}'}, "bulk_actions": {"action": "cancel"}, "bulk_items": {"outcome": "done"},
    "projects": {"status": "active", "phase": "discovery"}, "sessions": {"status": "active"},
    "specifications": {"status": "draft", "confidence": 0.5, "current": True},
    "conflicts": {"status": "open", "severity": "low"}, "batches": {},
    "webhook_endpoints": {"url": "https://x.test/"}, "webhook_keys": {"algorithm": "v1"},
    "webhook_deliveries": {"status": "pending", "next_attempt_at": NOW}, "webhook_replays": {"action": "replay"},
    "users": {"password_hash": "$argon2id$x"}, "members": {"role": "owner"}, "one_time_tokens": {"purpose": "verify"},
    "invitations": {"role": "viewer"}, "audit_entries": {"actor_kind": "key", "action": "a.b"},
    "audit_outbox": {"actor_kind": "key", "action": "a.b"},
    "audit_of_users": {"actor_kind": "key", "action": "a.b"},
    "audit_heads": {"seq": 1, "anchor_seq": 0, "hash": b"x" * 32, "anchor_hash": b"x" * 32},
    "system_roles": {"role": "billing"}, "oidc_flows": {"state_hash": b"s" * 32, "browser_hash": b"b" * 32},
}  # fmt: skip
PARENTS = {
    "steps": {"job_id": "jobs"}, "step_notes": {"step_id": "steps"}, "step_usage": {"step_id": "steps"},
    "schedule_runs": {"schedule_id": "schedules"}, "bulk_items": {"bulk_id": "bulk_actions"},
    "sessions": {"project_id": "projects", "user_id": "users"},
    "specifications": {"project_id": "projects", "session_id": "sessions"},
    "conflicts": {"project_id": "projects"}, "webhook_keys": {"endpoint_id": "webhook_endpoints"},
    "api_keys": {"team_id": "teams"}, "deprecated_uses": {"team_id": "teams"},
    "members": {"team_id": "teams", "user_id": "users"},
    "spent_tokens": {"session_id": "sessions"}, "one_time_tokens": {"user_id": "users"},
    "invitations": {"team_id": "teams"}, "permits": {"job_id": "jobs"}, "recovery_codes": {"user_id": "users"},
    "system_roles": {"user_id": "users"}, "external_identities": {"user_id": "users"},
}  # fmt: skip
"""Columns that refer to a row of another table. Both databases have sessions: each its own columns."""
OWNERS = {"team_id", "project_id"}
"""What a row has in common with those that it refers to."""
NONE = "nobody"


COLUMNS = """
SELECT column_name, data_type,
       is_nullable = 'NO' AND column_default IS NULL AND is_generated = 'NEVER' AND is_identity = 'NO' AS needed
FROM information_schema.columns WHERE table_name = :table
"""


def insert(connection, table, **given):
    """Insert a row that is valid but for what is given; returns its values."""
    columns = connection.execute(text(COLUMNS), {"table": table}).all()
    there = {one.column_name for one in columns}
    values = {
        one.column_name: SAMPLES.get(one.column_name, SAMPLES[one.data_type])() for one in columns if one.needed
    }  # fmt: skip
    values |= {name: value for name, value in VALID.get(table, {}).items() if name in there}
    owners = {name: value for name, value in given.items() if name in OWNERS}
    for column, parent in PARENTS.get(table, {}).items():
        if column not in given and column in there:
            made = insert(connection, parent, **owners)
            values[column] = made["id"]
            common = {name: value for name, value in (made | {column: made["id"]}).items() if name in OWNERS}
            owners = common | owners
    values |= {name: value for name, value in (owners | given).items() if name in there or name not in OWNERS}
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)
    return values


def row(table, **values):
    """One row that breaks it."""
    return lambda connection: insert(connection, table, **values)


def twice(table, **values):
    """Two rows that agree where they must not."""

    def run(connection):
        first = insert(connection, table, **{name: value for name, value in values.items() if value is not None})
        insert(connection, table, **{name: first[name] for name in values})

    return run


def elsewhere(table, *columns, **values):
    """A row of one owner that refers to something of another."""

    def run(connection):
        made, other = insert(connection, table), insert(connection, table)
        owners = {name: value for name, value in other.items() if name in OWNERS}
        insert(connection, table, **owners | {name: made[name] for name in columns} | values)

    return run


def change(table, before, **after):
    """A change of a row that was right."""

    def run(connection):
        made = insert(connection, table, **before)
        sets = ", ".join(f"{name} = :{name}" for name in after)
        connection.execute(text(f"UPDATE {table} SET {sets} WHERE id = :id"), after | {"id": made["id"]})

    return run


def two_personal_teams(connection):
    user = insert(connection, "users")
    for _ in range(2):
        insert(connection, "teams", personal_of=user["id"])


def truncate(table):
    """All rows at once."""
    return lambda connection: connection.execute(text(f"TRUNCATE {table}"))


def share_by_another(connection):
    project = insert(connection, "projects", team_id="owner")
    insert(connection, "project_shares", project_id=project["id"], team_id="another", access="read")


MAIN = {
    "audit_outbox_actor_kind_check": row("audit_outbox", actor_kind="ghost"),
    "audit_outbox_action_check": row("audit_outbox", action="done"),
    "audit_outbox_changes_check": row("audit_outbox", before="1"),
    "audit_outbox_append_only": change("audit_outbox", {}, actor_name="another"),
    "audit_outbox_no_truncate": truncate("audit_outbox"),
    "jobs_status_check": row("jobs", status="done"),
    "jobs_priority_check": row("jobs", priority=10),
    "jobs_progress_check": row("jobs", progress=1.5),
    "jobs_ended_check": row("jobs", status="succeeded"),
    "jobs_version_check": row("jobs", version=0),
    "jobs_depth_check": row("jobs", depth=-1),
    "jobs_request_id_check": row("jobs", request_id="r" * 101),
    "jobs_event_seq_check": row("jobs", event_seq=-1),
    "jobs_ended_stays": change("jobs", {"status": "failed", "ended_at": NOW}, status="queued", ended_at=None),
    "steps_status_check": row("steps", status="done"),
    "steps_fence_check": row("steps", fence="f"),
    "steps_held_check": row("steps", held="because"),
    "steps_counts_check": row("steps", attempt=-1),
    "steps_ended_stays": change("steps", {"status": "succeeded"}, status="ready"),
    "steps_job_id_fkey": row("steps", job_id=NONE),
    "steps_job_id_name_iteration_item_key": twice("steps", job_id=None, name="a", iteration=0, item=0),
    "step_notes_step_id_fkey": row("step_notes", step_id=NONE),
    "step_usage_step_id_fkey": row("step_usage", step_id=NONE),
    "step_usage_spent_check": row("step_usage", cost_usd=-1),
    "step_usage_key_idx": twice("step_usage", step_id=None, key="k"),
    "schedules_team_id_name_key": twice("schedules", team_id="t", name="n"),
    "schedules_kind_check": row("schedules", cron="* * * * *"),
    "schedules_catch_up_check": row("schedules", catch_up="some"),
    "schedules_priority_check": row("schedules", priority=-1),
    "schedules_paused_check": row("schedules", paused_at=NOW, next_fire_at=NOW),
    "schedules_every_check": row("schedules", every=0.0),
    "schedules_failures_check": row("schedules", failures=-1),
    "schedule_runs_schedule_id_team_id_fkey": elsewhere("schedule_runs", "schedule_id", fire_at=NOW),
    "schedule_runs_outcome_check": row("schedule_runs", outcome="lost"),
    "schedule_runs_job_check": row("schedule_runs", outcome="fired"),
    "bulk_actions_action_check": row("bulk_actions", action="erase"),
    "bulk_actions_status_check": row("bulk_actions", status="x", ended_at=NOW),
    "bulk_actions_ended_check": row("bulk_actions", ended_at=NOW),
    "bulk_items_bulk_id_team_id_fkey": elsewhere("bulk_items", "bulk_id"),
    "bulk_items_outcome_check": row("bulk_items", outcome="x"),
    "bulk_items_error_check": row("bulk_items", outcome="failed"),
    "files_size_check": row("files", size=-1),
    "files_sha256_check": row("files", sha256="A" * 64),
    "erasures_finished_check": row("erasures", team_name=None),
    "holds_metadata_check": row("holds", metadata="{}"),
    "batches_size_check": row("batches", size=1001),
    "batches_ended_check": row("batches", ended_at=NOW),
    "permits_job_id_fkey": row("permits", job_id=NONE, state="idle"),
    "permits_state_check": row("permits", state="x"),
    "limits_max_running_check": row("limits", max_running=-1),
    "limits_rate_check": row("limits", rate=0.0, burst=1),
    "projects_status_check": row("projects", status="x"),
    "projects_phase_check": row("projects", phase="x"),
    "projects_origin_key": twice("projects", team_id="t", origin="o"),
    "project_shares_access_check": row("project_shares", access="x"),
    "project_shares_other_check": row("project_shares", access="read", team_id="t", with_team_id="t"),
    "project_shares_project_id_team_id_fkey": share_by_another,
    "sessions_status_check": row("sessions", status="x"),
    "sessions_project_id_team_id_fkey": elsewhere("sessions", "project_id"),
    "specifications_status_check": row("specifications", status="x"),
    "specifications_confidence_check": row("specifications", confidence=2),
    "specifications_current_check": row("specifications", current=False),
    "specifications_current_key": twice("specifications", team_id=None, project_id=None, category="c", key="k"),
    "specifications_project_id_team_id_fkey": elsewhere("specifications", "project_id", "session_id"),
    "specifications_session_id_project_id_fkey": elsewhere("specifications", "session_id"),
    "conflicts_status_check": row("conflicts", status="x"),
    "conflicts_severity_check": row("conflicts", severity="x"),
    "conflicts_project_id_team_id_fkey": elsewhere("conflicts", "project_id"),
    "webhook_endpoints_status_check": row("webhook_endpoints", status="x"),
    "webhook_endpoints_kind_check": row("webhook_endpoints", kind="inline"),
    "webhook_endpoints_max_in_flight_check": row("webhook_endpoints", max_in_flight=0),
    "webhook_endpoints_signing_check": row("webhook_endpoints", signing="x"),
    "webhook_endpoints_payload_check": row("webhook_endpoints", payload="x"),
    "webhook_endpoints_fifo_check": row("webhook_endpoints", fifo="x"),
    "webhook_endpoints_rate_limit_check": row("webhook_endpoints", rate_limit=0.0),
    "webhook_endpoints_allowance_check": row("webhook_endpoints", allowance=0),
    "webhook_endpoints_warned_check": row("webhook_endpoints", warned=101),
    "webhook_endpoints_metadata_filter_check": row("webhook_endpoints", metadata_filter="[]"),
    "webhook_endpoints_event_types_check": row("webhook_endpoints", event_types=[]),
    "webhook_endpoints_url_check": row("webhook_endpoints", url=""),
    "webhook_endpoints_uid_idx": twice("webhook_endpoints", team_id="t", uid="u"),
    "webhook_keys_algorithm_check": row("webhook_keys", algorithm="x"),
    "webhook_keys_public_key_check": row("webhook_keys", public_key="x"),
    "webhook_keys_endpoint_id_fkey": row("webhook_keys", endpoint_id=NONE),
    "webhook_keys_one_team": elsewhere("webhook_keys", "endpoint_id"),
    "webhook_deliveries_status_check": row("webhook_deliveries", status="x"),
    "webhook_deliveries_lease_check": row("webhook_deliveries", lease_token="t"),
    "webhook_deliveries_order_check": row("webhook_deliveries", order_key="k"),
    "webhook_deliveries_turn_check": row("webhook_deliveries", next_attempt_at=None),
    "webhook_deliveries_attempt_check": row("webhook_deliveries", attempt=-1),
    "webhook_deliveries_ended_check": row("webhook_deliveries", ended_at=NOW),
    "webhook_deliveries_event_id_endpoint_id_key": twice("webhook_deliveries", event_id="e", endpoint_id="w"),
    "webhook_replays_action_check": row("webhook_replays", action="x"),
    "webhook_replays_status_check": row("webhook_replays", status="x", ended_at=NOW),
    "webhook_replays_ended_check": row("webhook_replays", ended_at=NOW),
    "webhook_portal_links_hash_idx": twice("webhook_portal_links", hash="h"),
}
AUTH = {
    "teams_name_check": row("teams", name=""),
    "teams_handle_key": twice("teams", handle="h"),
    "teams_personal_of_fkey": row("teams", personal_of=NONE),
    "teams_personal_of_idx": two_personal_teams,
    "teams_tier_fkey": row("teams", tier=NONE),
    "teams_quotas_check": row("teams", quotas='{"requests_per_minute": 0}'),
    "tiers_name_check": row("tiers", name="Gold!"),
    "tiers_amounts_check": row("tiers", members=-1),
    "tiers_requests_per_minute_check": row("tiers", requests_per_minute=0),
    "api_keys_requests_per_minute_check": row("api_keys", requests_per_minute=0),
    "api_keys_rotated_check": row("api_keys", meant_until=NOW),
    "api_keys_hash_key": twice("api_keys", hash=b"x" * 32),
    "api_keys_hash_check": row("api_keys", hash=b"x"),
    "api_keys_scopes_check": row("api_keys", scopes=[]),
    "api_keys_api_version_check": row("api_keys", api_version="newest"),
    "deprecated_uses_uses_check": row("deprecated_uses", uses=0),
    "deprecated_uses_team_id_fkey": row("deprecated_uses", team_id=NONE),
    "api_keys_team_id_fkey": row("api_keys", team_id=NONE),
    "users_email_key": twice("users", email="a@b"),
    "users_email_check": row("users", email="A@b"),
    "users_totp_check": row("users", totp_since=NOW),
    "users_password_hash_check": row("users", password_hash="plain"),
    "members_role_check": row("members", role="king"),
    "members_team_id_fkey": row("members", team_id=NONE),
    "members_user_id_fkey": row("members", user_id=NONE),
    "sessions_refresh_hash_key": twice("sessions", refresh_hash=b"x" * 32),
    "sessions_refresh_hash_check": row("sessions", refresh_hash=b"x"),
    "sessions_expires_at_check": row("sessions", created_at=NOW, expires_at=NOW),
    "sessions_revoked_check": row("sessions", revoked_at=NOW),
    "sessions_user_id_fkey": row("sessions", user_id=NONE),
    "spent_tokens_session_id_fkey": row("spent_tokens", session_id=NONE),
    "one_time_tokens_purpose_check": row("one_time_tokens", purpose="x"),
    "one_time_tokens_user_id_fkey": row("one_time_tokens", user_id=NONE),
    "invitations_role_check": row("invitations", role="king"),
    "invitations_email_check": row("invitations", email="A@b"),
    "invitations_ended_check": row("invitations", accepted_at=NOW, revoked_at=NOW),
    "invitations_team_id_fkey": row("invitations", team_id=NONE),
    "invitations_open_idx": twice("invitations", team_id=None, email="a@b"),
    "mails_tries_check": row("mails", tries=-1),
    "api_keys_created_by_check": row("api_keys", created_by="somebody"),
    "audit_entries_actor_kind_check": row("audit_entries", actor_kind="ghost"),
    "audit_entries_action_check": row("audit_entries", action="done"),
    "audit_entries_changes_check": row("audit_entries", after="[]"),
    "audit_entries_chained_check": row("audit_entries", seq=1),
    "audit_entries_team_id_seq_key": twice("audit_entries", team_id="t", seq=1, hash=b"x" * 32),
    "audit_entries_append_only": change("audit_entries", {}, actor_name="another"),
    "audit_entries_no_truncate": truncate("audit_entries"),
    "audit_of_users_actor_kind_check": row("audit_of_users", actor_kind="ghost"),
    "audit_of_users_action_check": row("audit_of_users", action="done"),
    "audit_of_users_changes_check": row("audit_of_users", before="1"),
    "audit_of_users_append_only": change("audit_of_users", {}, actor_name="another"),
    "audit_of_users_no_truncate": truncate("audit_of_users"),
    "audit_heads_seq_check": row("audit_heads", anchor_seq=2),
    "audit_heads_hash_check": row("audit_heads", hash=b"x"),
    "audit_heads_forward": lambda connection: (
        insert(connection, "audit_heads"),
        connection.execute(text("UPDATE audit_heads SET seq = 0")),
    ),
    "audit_heads_no_truncate": truncate("audit_heads"),
    "recovery_codes_hash_check": row("recovery_codes", hash=b"x"),
    "recovery_codes_user_id_fkey": row("recovery_codes", user_id=NONE),
    "system_roles_role_check": row("system_roles", role="king"),
    "system_roles_user_id_fkey": row("system_roles", user_id=NONE),
    "external_identities_subject_check": row("external_identities", subject=""),
    "external_identities_issuer_subject_key": twice("external_identities", issuer="i", subject="s"),
    "external_identities_user_id_fkey": row("external_identities", user_id=NONE),
    "oidc_flows_hashes_check": row("oidc_flows", state_hash=b"x"),
    "oidc_flows_user_id_fkey": row("oidc_flows", user_id=NONE),
    "signing_keys_public_check": row("signing_keys", public='{"d": "private"}'),
}
CASES = [("main", name, run) for name, run in MAIN.items()] + [("auth", name, run) for name, run in AUTH.items()]


@pytest.mark.parametrize(("database", "name", "run"), [pytest.param(*one, id=one[1]) for one in CASES])
def test_the_database_refuses_what_would_break_it(db, database, name, run):
    with engine(database).connect() as connection, pytest.raises(IntegrityError) as refused:
        run(connection)
    assert isinstance(refused.value.orig, CheckViolation | UniqueViolation | ForeignKeyViolation | ExclusionViolation)
    assert refused.value.orig.diag.constraint_name == name


NAMES = """
SELECT c.conname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
WHERE c.contype IN ('c', 'u', 'f', 'x') AND t.relnamespace = 'public'::regnamespace AND NOT t.relispartition
UNION
SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
WHERE x.indisunique AND NOT x.indisprimary AND t.relnamespace = 'public'::regnamespace AND NOT t.relispartition
UNION
SELECT g.tgname FROM pg_trigger g WHERE NOT g.tgisinternal
"""
ELSEWHERE = {"members_keep_an_owner", "system_roles_keep_a_super", "users_keep_a_super"}
"""At the end of a transaction: test_members.py, test_administrators.py."""
REFERRED = {
    "projects_id_team_id_key", "sessions_id_project_id_key", "schedules_id_team_id_key", "bulk_actions_id_team_id_key",
}  # fmt: skip
"""Wider than a primary key, for foreign keys to refer to: no two rows can agree in them."""


@pytest.mark.parametrize(("database", "known"), [("main", MAIN), ("auth", AUTH)])
def test_no_rule_of_the_database_is_forgotten_here(db, database, known):
    with engine(database).connect() as connection:
        found = set(connection.execute(text(NAMES)).scalars())
    assert found - ELSEWHERE - REFERRED == known.keys()


def test_a_rule_of_each_kind_would_be_found(db):
    """Also of a kind that no table has yet."""
    table = """
        CREATE TABLE rooms (
            id integer PRIMARY KEY, name text UNIQUE, next integer REFERENCES rooms, during tstzrange,
            CHECK (id > 0), EXCLUDE USING gist (during WITH &&)
        )"""
    kinds = {"rooms_name_key", "rooms_next_fkey", "rooms_id_check", "rooms_during_excl"}
    with engine("main").connect() as connection:
        before = set(connection.execute(text(NAMES)).scalars())
        connection.execute(text(table))
        assert set(connection.execute(text(NAMES)).scalars()) - before == kinds
