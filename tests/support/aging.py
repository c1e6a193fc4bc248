"""Jobs of long ago: a job that ran just now is moved into the past, with all that belongs to it."""

import itertools
from datetime import timedelta

from agora.clock import now
from agora.db.partitions import ensure_partitions
from agora.db.session import transaction
from agora.ids import floor_id
from agora.retention import duties

_number = itertools.count()
PREFIXES = {"events": "evt", "attempts": "att"}


def aged(rig, job, days: float) -> str:
    """The job as if it had ended, or been made, so many days ago; returns its new id."""
    moment = now() - timedelta(days=days) + timedelta(milliseconds=next(_number))
    made = floor_id("job", moment)
    rig.sql(
        """INSERT INTO jobs SELECT (jsonb_populate_record(j, jsonb_build_object(
               'id', CAST(:made AS text), 'root_id', CAST(:made AS text), 'created_at', CAST(:at AS timestamptz),
               'ended_at', CASE WHEN j.ended_at IS NOT NULL THEN CAST(:at AS timestamptz) END))).*
           FROM jobs j WHERE id = :id""",
        made=made, at=moment, id=job.id,
    )  # fmt: skip
    for table in ("steps", "webhook_deliveries", "webhook_endpoints"):
        rig.sql(f"UPDATE {table} SET job_id = :made WHERE job_id = :id", made=made, id=job.id)
    for table, prefix in PREFIXES.items():
        with transaction() as session:
            ensure_partitions(session, table, prefix, moment=moment, ahead=0)
        for number, row in enumerate(rig.sql(f"SELECT id FROM {table} WHERE job_id = :id ORDER BY id", id=job.id)):
            rig.sql(
                f"UPDATE {table} SET id = :new, job_id = :made WHERE id = :old", old=row["id"], made=made,
                new=floor_id(prefix, moment + timedelta(seconds=number)),
            )  # fmt: skip
    rig.sql("DELETE FROM jobs WHERE id = :id", id=job.id)
    return made


def begin_anew() -> None:
    """Every walk of retention starts at the beginning, and now."""
    for walk in (duties.jobs_walk, duties.deliveries_walk, duties.batches_walk, *duties.moved_walks.values()):
        walk.after, walk.rests_until = "", float("-inf")


def sweep() -> None:
    """Whatever retention does in a minute."""
    begin_anew()
    for _ in range(20):
        duties.remove_old_jobs()
        duties.remove_old_deliveries()
    duties.remove_old_batches()
