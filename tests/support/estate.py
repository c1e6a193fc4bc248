"""A team that owns one of everything, made over the API; and for each route that writes a body that would be taken."""

import io
from datetime import timedelta

import psycopg
from psycopg import sql

from agora.api_versions import NEWEST
from agora.clock import now
from agora.db.session import transaction
from agora.identity import external_queries
from agora.identity import service as identity
from agora.ids import new_id
from tests.support import people
from tests.support.people import Browser
from tests.support.projects import a_project
from tests.support.replays import some_ended

JOB = {"agent": "probe", "action": "double", "input": {"n": 1}}
HOOK = "http://127.0.0.1:1/hook"
LATER = (now() + timedelta(days=1)).isoformat()
EARLIER = (now() - timedelta(days=1)).isoformat()
PASSWORD = people.PASSWORD
SPEAKS = {"Agora-Version": NEWEST}
"""What these bodies are written in."""

BODIES = {
    "moves.move_jobs": {"version": 1, "action": "double", "before": 1},
    "sign-in.accept_as_new": {"token": "x.y", "password": PASSWORD, "name": "N"},
    "sign-in.ask_to_reset": {"email": "nobody@example.test"},
    "sign-in.reset_password": {"token": "x.y", "password": PASSWORD},
    "sign-in.refresh": {"refresh_token": "x"},
    "sign-in.sign_in_user": {"email": "nobody@example.test", "password": PASSWORD},
    "sign-in.sign_up": {"email": "new@example.test", "password": PASSWORD, "name": "N"},
    "sign-in.verify_email": {"token": "x.y", "password": PASSWORD},
    "sign-in.ask_to_verify": {"email": "nobody@example.test"},
    "batches.submit_batch": {"jobs": [JOB]},
    "batches.cancel_batch": {"reason": "r"},
    "bulk.begin_bulk": {"action": "cancel", "filter": {"agent": "none"}, "reason": "r"},
    "holds.create_hold": {"name": "h", "metadata": {"a": "b"}},
    "jobs.submit": JOB,
    "budgets.approve_job": {},
    "jobs.cancel_job": {"reason": "r"},
    "lineage.fork_job": {"from_step": "twice", "input": {"n": 2}},
    "jobs.give_input": {"value": 1},
    "moves.move_job": {"version": 1},
    "lineage.retry_job": {},
    "keys.create_key": {"name": "k", "scopes": ["jobs:read"]},
    "keys.rotate_key": {"overlap_seconds": 0},
    "keys.pin_key": {"api_version": NEWEST},
    "limits.put_limit": {"max_running": 1},
    "me.rename_me": {"name": "N"},
    "me.change_password": {"old_password": "wrong wrong wrong", "new_password": PASSWORD},
    "me.enrol": {"password": "wrong wrong wrong"},
    "me.confirm": {"code": "000000"},
    "me.remove": {"password": "wrong wrong wrong", "code": "000000"},
    "me.renew_recovery_codes": {"password": "wrong wrong wrong"},
    "identities.begin_link": {"password": "wrong wrong wrong"},
    "oidc.finish": {"ticket": "usr_x.1.y", "code": "000000"},
    "projects.update_project": {"name": "P"},
    "projects.revise_specification": {"confidence": 0.5},
    "projects.resolve_conflict": {"status": "ignored"},
    "projects.share": {"team_id": "team_01h455vb4pex5vsknk084sn02q", "access": "read"},
    "projects.put_share": {"access": "write"},
    "system.put_team_tier": {"tier": "free", "otherwise": {}},
    "system.grant": {"email": "nobody@example.test", "role": "support"},
    "queues.pause_queue": {"reason": "r"},
    "schedules.create_schedule": {"name": "s", "agent": "probe", "action": "double", "cron": "0 0 * * *"},
    "schedules.update_schedule": {"priority": 3},
    "team.rename_team": {"name": "T"},
    "team.invite": {"email": "guest@example.test", "role": "viewer"},
    "team.change_role": {"role": "viewer"},
    "teams.create_team": {"name": "T"},
    "teams.accept": {"token": "x.y"},
    "webhook-endpoint-exchange.import_endpoints": {"endpoints": [{"url": HOOK}]},
    "webhook-endpoints.create_endpoint": {"url": HOOK, "description": "d"},
    "webhook-endpoints.update_endpoint": {"description": "d"},
    "webhook-key-rotations.rotate_endpoint_key": {"overlap_seconds": 60},
    "webhook-endpoint-keys.add_endpoint_key": {},
    "webhook-endpoints.recover_endpoint": {"since": EARLIER},
    "webhook-endpoints.send_test": {"event_type": "webhook.test"},
    "webhook-key-rotations.rotate_team_key": {"overlap_seconds": 60},
    "webhook-keys.add_team_key": {},
    "webhook-portal-links.create_portal_link": {"scope": {"customer": "c"}},
    "webhook-replays.begin_replay": {"status": ["exhausted"], "event_types": ["job.*"]},
}
"""Of each endpoint that takes a body."""
NO_BODY = frozenset(
    {
        "sign-in.sign_out", "bulk.cancel_bulk", "queues.resume_queue", "schedules.pause_schedule", "team.leave",
        "schedules.resume_schedule", "schedules.run_schedule", "webhook-deliveries.resend_delivery",
        "webhook-endpoints.pause_endpoint", "webhook-endpoints.resume_endpoint", "webhook-replays.cancel_replay",
        "system.disable_user", "system.enable_user", "system.remove_second_factor",
    }
)  # fmt: skip
"""Endpoints that write and take none. ``files.upload`` takes a file."""


class Estate:
    """A user who owns a team, and what that team has. ``ids`` are by the name of the route's argument."""

    def __init__(self, app, rig):
        self.owner = Browser(app, people.sign_up())
        self.team_id = self.owner.post("/api/v1/teams", json={"name": "Acme"}).json["id"]
        self.owner.team = rig.team_id = self.team_id
        self._rig = rig
        post = self.made
        invited = post("team/invitations", {"email": "friend@example.test", "role": "viewer"})
        job = post("jobs", JOB)
        rig.run()
        batch = post("batches", {"jobs": [JOB]})
        endpoint = post("webhook-endpoints", {"url": HOOK, "description": "theirs"})
        team = type("Team", (), {"id": self.team_id})
        [delivery] = some_ended(team, type("Endpoint", (), endpoint), 1, job_id=job["id"])
        file = self.owner.post("/api/v1/files?name=secret.txt", input_stream=io.BytesIO(b"theirs")).json
        session = self.owner.get("/api/v1/me/sessions").json["items"][0]
        project = a_project(self.team_id)
        partner = identity.ensure_team("partners")
        post(f"projects/{project.project_id}/shares", {"team_id": partner, "access": "read"})
        inside = f"/api/v1/projects/{project.project_id}"
        self.ids = {
            "project_id": project.project_id, "with_team_id": partner,
            "specification_id": self.owner.get(f"{inside}/specifications").json["items"][0]["id"],
            "conflict_id": self.owner.get(f"{inside}/conflicts").json["items"][0]["id"],
            "job_id": job["id"], "batch_id": batch["id"], "file_id": file["id"], "delivery_id": delivery,
            "invitation_id": invited["id"], "session_id": session["id"], "member_id": self.user_id(),
            "bulk_id": post("bulk", BODIES["bulk.begin_bulk"])["id"],
            "hold_id": post("holds", BODIES["holds.create_hold"])["id"],
            "link_id": post("webhook-portal-links", {"scope": {"customer": "c"}})["id"],
            "replay_id": post("webhook-replays", BODIES["webhook-replays.begin_replay"])["id"],
        }  # fmt: skip
        self.refs = {
            "schedules": post("schedules", BODIES["schedules.create_schedule"])["id"],
            "webhook-endpoints": endpoint["id"],
        }
        self.keys = {
            "keys": post("keys", BODIES["keys.create_key"])["id"],
            "webhook-keys": post("webhook-keys", {})["id"],
            "webhook-endpoints": post(f"webhook-endpoints/{endpoint['id']}/keys", {})["id"],
        }
        self.identity_id = linked(self.user_id())
        self.owner.put("/api/v1/limits/agent:probe", json={"max_running": 7})

    def made(self, path, body):
        """What a POST has made."""
        answer = self.owner.post(f"/api/v1/{path}", json=body, headers=SPEAKS)
        assert answer.status_code < 300, (path, answer.json)
        return answer.json

    def user_id(self):
        return self.owner.get("/api/v1/me").json["id"]

    def path_of(self, route):
        """The path of a route, with the ids of what is theirs."""
        of = route.rule.split("/")[3]
        values = dict(self.ids)
        if of in self.refs:
            values["ref"] = self.refs[of]
        if of in self.keys:
            values["key_id"] = self.keys[of]
        if route.endpoint == "identities.unlink":
            values["link_id"] = self.identity_id
        return route.path(**values) + QUERIES.get(route.endpoint, "")


def linked(user_id):
    """The id of an identity at a provider that a user has."""
    made = new_id("ext")
    with transaction("auth") as session:
        external_queries.link(
            session, link_id=made, issuer="https://id.example.test", subject="s", user_id=user_id, email="a@b.test"
        )
    return made


QUERIES = {"jobs.list_items": "?step=twice"}
"""What some reads need besides."""
VOLATILE = {"api_keys": ("last_used_at",), "sessions": ("last_used_at",)}


def contents(db):
    """Every row of both databases, as text, by table."""
    found = {}
    for url in (db["DATABASE_URL"], db["AUTH_DATABASE_URL"]):
        with psycopg.connect(url, autocommit=True) as connection:
            names = connection.execute(
                "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
                " AND NOT relispartition"
            ).fetchall()
            for (name,) in names:
                query = sql.SQL("SELECT (to_jsonb(t) - %s::text[])::text FROM {} t").format(sql.Identifier(name))
                found[name] = {row for (row,) in connection.execute(query, [list(VOLATILE.get(name, ()))])}
    return found
