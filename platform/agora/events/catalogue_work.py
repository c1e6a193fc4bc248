"""The events of what makes or moves many jobs: batches, bulk actions, schedules."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from agora.events.catalogue_jobs import JOB
from agora.events.declare import MOMENT, Action, Agent, Data, EventData, EventType, JobId, Links, Metadata, Time

BatchId = Annotated[str, Field(pattern=r"^bat_[0-9a-z]{26}$", description="the batch")]
BulkId = Annotated[str, Field(pattern=r"^blk_[0-9a-z]{26}$", description="the bulk action")]
ScheduleId = Annotated[str, Field(pattern=r"^sch_[0-9a-z]{26}$", description="the schedule")]
BATCH: Final = "bat_01m854ggm3fzkra6xszn3b2bqd"
BULK: Final = "blk_01m854ggm5e7vbm2jgn9yt4q3c"
SCHEDULE: Final = "sch_01m854ggm2f5f8k2y7hq9x6w4p"


class BatchCompleted(EventData):
    """The last job of a batch has ended."""

    batch_id: BatchId
    status: Literal["completed"]
    size: int = Field(description="its jobs")
    counts: dict[str, int] = Field(description="its jobs by status")
    metadata: Metadata
    links: Links


class BulkEnded(EventData):
    """A bulk action has dealt with every job that its filter found, or was cancelled."""

    bulk_id: BulkId
    action: Literal["cancel", "retry", "fork"]
    status: Literal["completed", "cancelled"]
    matched: int = Field(description="jobs that it has looked at")
    done: int = Field(description="jobs with which it did what it should")
    failed: int = Field(description="jobs with which it could not")
    links: Links


class ScheduleData(EventData):
    """What every event of a schedule says."""

    schedule_id: ScheduleId
    name: str = Field(description="the team's own name of the schedule")
    agent: Agent
    action: Action
    fire_at: Time = Field(description="the fire time")
    links: Links


class ScheduleFired(ScheduleData):
    """A schedule has made its job."""

    job_id: JobId
    manual: bool = Field(description="somebody asked for it, outside the schedule's times")


class Refusal(Data):
    """Why a schedule could make no job."""

    code: str = Field(description="for programs, such as invalid")
    type: str = Field(description="the kind of error")
    message: str | None = Field(None, description="for people")


class ScheduleFailed(ScheduleData):
    """A schedule could make no job at a fire time."""

    error: Refusal | None = None
    metadata: Metadata


_SCHEDULE: Final[dict[str, Any]] = {
    "schedule_id": SCHEDULE, "name": "nightly", "agent": "quality_controller", "action": "check_coverage",
    "fire_at": MOMENT, "links": {"self": f"/api/v1/schedules/{SCHEDULE}"},
}  # fmt: skip

WORK: Final = (
    EventType(
        name="batch.completed",
        model=BatchCompleted,
        example={
            "batch_id": BATCH, "status": "completed", "size": 100, "counts": {"succeeded": 99, "failed": 1},
            "metadata": {"order": "7"}, "links": {"self": f"/api/v1/batches/{BATCH}"},
        },
    ),
    EventType(
        name="bulk.ended",
        model=BulkEnded,
        example={
            "bulk_id": BULK, "action": "retry", "status": "completed", "matched": 12, "done": 11, "failed": 1,
            "links": {"self": f"/api/v1/bulk/{BULK}"},
        },
    ),
    EventType(
        name="schedule.fired",
        model=ScheduleFired,
        example=_SCHEDULE
        | {"job_id": JOB, "manual": False, "links": _SCHEDULE["links"] | {"job": f"/api/v1/jobs/{JOB}"}},
    ),
    EventType(
        name="schedule.failed",
        model=ScheduleFailed,
        example=_SCHEDULE
        | {
            "error": {"code": "invalid", "type": "Invalid", "message": "there is no action quality_controller.check"},
            "metadata": {"order": "7"},
        },
    ),
)  # fmt: skip
