"""Move an open job to another version of its action: it goes on there, from the step where it stands."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from agora.agents import ActionSpec
from agora.audit import service as audit
from agora.db.session import Row, transaction
from agora.errors import Conflict, FieldError, IllegalTransition, Invalid, invalid_field
from agora.events.types import job_event
from agora.jobs import catalogue, move_queries, queries, service, values, views
from agora.jobs.announce import Announcement
from agora.jobs.chronicle import record as record_events
from agora.jobs.models import JobRow
from agora.jobs.types import Job

MOST = 200
"""Jobs that one call of move_jobs moves at most."""


def move_job(job_id: str, *, team_id: str, version: int) -> Job:
    """Let an open job go on at another registered version; the same version changes nothing.

    Raises:
        NotFound: the team has no such job.
        Invalid: the version is not registered, the job's steps so far are not its steps, or it refuses the input.
        IllegalTransition: the job has ended.
        Conflict: one of its steps runs just now.
    """
    with transaction() as session:
        row = service.find(session, job_id, team_id=team_id)
        target = catalogue.find(session, row.agent, row.action, version)
    target.check_input(values.unpack(row.input))  # it never changes; a large one is read without a transaction
    announcement = Announcement(jobs={job_id})
    with transaction() as session:
        row = service.find(session, job_id, team_id=team_id)
        if row.version != version:
            old, new = {"version": row.version}, {"version": version}
            _move(session, row, target.spec, announcement)
            audit.record(session, "job.moved", job_id, team_id=team_id, before=old, after=new)
    announcement.make()
    return service.get_job(job_id, team_id=team_id)


def _move(session: Session, row: JobRow, spec: ActionSpec, announcement: Announcement) -> None:
    if row.ended_at is not None:
        raise IllegalTransition(f"job {row.id} is {row.status} and stays on its version", state=row.status, allowed=[])
    scope = {"team_id": row.team_id, "job_id": row.id}
    open_steps = queries.try_lock_open_steps(session, **scope)
    if open_steps is None or any(step["status"] == "running" for step in open_steps):
        raise Conflict(f"a step of job {row.id} runs; move it when it has ended", state=row.status)
    _check_chain(row, spec, move_queries.list_steps(session, **scope))
    if not move_queries.set_version(session, **scope, before=row.version, version=spec.version):
        raise Conflict(f"job {row.id} has ended or moved just now", state=row.status)
    for name in {step["name"] for step in open_steps}:
        step = spec.step(name)
        move_queries.retarget_steps(session, **scope, name=name, queue=step.queue, attempts=step.attempts)
        announcement.queues.add(step.queue)
    job = views.ref(row)
    moved: dict[str, Any] = {"from": row.version, "to": spec.version}
    event = job_event("job.moved", job, status=row.status, **moved)
    announcement.deliveries = record_events(session, job, [event])


def _check_chain(row: JobRow, spec: ActionSpec, steps: Sequence[Row]) -> None:
    """What the job has done and where it stands must be the same steps at the same places of the other version."""
    names = [step.name for step in spec.steps]
    for step in steps:
        if step["position"] >= len(names) or names[step["position"]] != step["name"]:
            message = (
                f"version {spec.version} has the steps {', '.join(names)}; "
                f"step {step['position'] + 1} of job {row.id} is {step['name']}"
            )
            field = FieldError(pointer="/version", rule="same-steps", message=message, value=spec.version)
            raise Invalid(message, errors=[field])


def move_jobs(agent: str, action: str, *, team_id: str, before: int, version: int) -> Mapping[str, Any]:
    """Move up to 200 open jobs of a version to another one; call again while ``more`` is true.

    Returns ``moved`` (how many), ``refused`` (ids with the reason, such as a step that runs just now) and ``more``.

    Raises:
        Invalid: one of the versions is not registered, or they are the same.
    """
    if before == version:
        raise invalid_field("/version", "other-version", f"version {version} is where they are", version)
    with transaction() as session:
        for known in (before, version):
            catalogue.find(session, agent, action, known)
        found = move_queries.list_open(
            session, team_id=team_id, agent=agent, action=action, version=before, limit=MOST + 1
        )
    refused, moved = [], 0
    for job_id in found[:MOST]:
        try:
            move_job(job_id, team_id=team_id, version=version)
            moved += 1
        except (Conflict, Invalid) as error:
            refused.append({"job_id": job_id, "code": error.slug, "detail": str(error)})
    return {"moved": moved, "refused": refused, "more": len(found) > MOST}
