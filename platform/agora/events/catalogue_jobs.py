"""The events of jobs and their steps, and those that agents emit themselves."""

from typing import Any, Final, Literal

from pydantic import ConfigDict, Field

from agora.events.declare import MOMENT, Action, Agent, Data, EventData, EventType, JobId, Links, Metadata, Step, Time

State = Literal["scheduled", "queued", "running", "waiting", "succeeded", "failed", "cancelled"]
JOB: Final = "job_01m854ggm4erkrpfgw12pyqk68"
LINKS: Final = {"self": f"/api/v1/jobs/{JOB}"}


class Excess(Data):
    """The limit of its budget that a job went over."""

    limit: str = Field(description="such as max_tokens")
    allowed: float | str = Field(description="the limit's value; money is the text of an exact decimal")
    used: float | str = Field(description="what the job has used")


class Failure(Data):
    """Why something failed."""

    code: str = Field(description="for programs, such as step-timeout")
    type: str = Field(description="the kind of error, such as the name of an exception")
    message: str | None = Field(None, description="for people")
    retryable: bool = Field(description="whether it could work another time")
    budget: Excess | None = None


class JobData(EventData):
    """What every event of a job says."""

    job_id: JobId
    agent: Agent
    action: Action
    version: int = Field(description="of the action")
    metadata: Metadata
    links: Links


class JobCreated(JobData):
    """A job was accepted."""

    status: Literal["queued", "scheduled"]
    parent_id: JobId | None = Field(None, description="the job whose step spawned it")
    retry_of: JobId | None = Field(None, description="the job that it tries again")
    forked_from: JobId | None = Field(None, description="the job that it was forked from")
    from_step: str | None = Field(None, description="the step that a retry or fork begins with")
    batch_id: str | None = Field(None, pattern=r"^bat_[0-9a-z]{26}$", description="the batch that it came in")
    schedule_id: str | None = Field(None, pattern=r"^sch_[0-9a-z]{26}$", description="the schedule that made it")
    fire_at: Time | None = Field(None, description="the fire time that the schedule made it for")


class JobDebounced(JobData):
    """Another submit under its debounce key has renewed a job that still waits for its time."""

    status: Literal["scheduled"]
    run_at: Time = Field(description="when it will run now")


class JobStarted(JobData):
    """A worker has begun with a job's first step."""

    status: Literal["running"]


class JobProgressed(JobData):
    """A step told how far it is. Frequent: a filter must name this type in full."""

    status: Literal["running"]
    step: Step
    progress: float = Field(ge=0, le=1, description="of the whole job")
    message: str | None = Field(None, description="for people")


class JobPartial(JobData):
    """A step showed some of the job's output: read it from the job."""

    status: Literal["running"]
    step: Step
    size: int = Field(description="the length of the stored JSON, in characters")


class JobWaiting(JobData):
    """A job waits: for somebody's answer, an approval, a time, or its children."""

    status: Literal["waiting"]
    step: str = Field(description="the step at which it waits")
    waits_for: Literal["input", "approval", "snooze", "children"]
    until: Time | None = Field(None, description="when it goes on at the latest")
    prompt: str | None = Field(None, description="what it asks; the job shows the schema of an answer")
    approval: str | None = Field(None, pattern=r"^apr_[0-9a-z]{26}$", description="the id to approve it by")
    budget: Excess | None = None


class Limits(Data):
    """The limits of a budget. Money is the text of an exact decimal."""

    max_tokens: float | None = Field(None, description="in and out")
    max_cost_usd: str | None = Field(None, description="US dollars")
    max_run_seconds: float | None = Field(None, description="of all steps together")


class JobResumed(JobData):
    """A job that has waited goes on."""

    status: Literal["running"]
    step: str | None = Field(None, description="the step that was approved")
    budget: Limits | None = Field(None, description="the limits with which it was approved")


class JobMoved(JobData):
    """An open job goes on at another version of its action."""

    status: State
    source: int = Field(alias="from", description="the version before")
    target: int = Field(alias="to", description="the version now")


class JobSucceeded(JobData):
    """A job has ended well: read its output from the job."""

    status: Literal["succeeded"]


class JobFailed(JobData):
    """A job has failed."""

    status: Literal["failed"]
    error: Failure | None = None


class JobCancelled(JobData):
    """A job was cancelled, by a caller or by its own step."""

    status: Literal["cancelled"]
    reason: str | None = Field(None, description="what was given as the reason")
    error: Failure | None = Field(None, description="the last fault of the step at which it ended, if there was one")


class StepData(EventData):
    """What every event of a step says."""

    job_id: JobId
    agent: Agent
    action: Action
    step: Step
    iteration: int = Field(description="counts from 0, one more with each time that a step went back")
    attempt: int = Field(description="counts from 1")
    links: Links = Field(description="of the job")


class StepSucceeded(StepData):
    """A step has its result. Items of a map step tell nothing each."""


class StepRetrying(StepData):
    """A step's try has failed, and it will be tried again."""

    error: Failure | None = None
    retry_in: float = Field(description="seconds")


class StepFailed(StepData):
    """A step has failed for good."""

    error: Failure | None = None


class AgentData(EventData):
    """A step of an agent noted something. The rest of the data is the agent's own."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Any]

    job_id: JobId
    step: Step


STEP: Final = {
    "job_id": JOB, "agent": "project_manager", "action": "bootstrap", "step": "read_document", "iteration": 0,
    "attempt": 1, "links": LINKS,
}  # fmt: skip
BUSY: Final = {"code": "busy", "type": "Transient", "message": "the model is busy", "retryable": True}
UNREADABLE: Final = {
    "code": "document-empty", "type": "Permanent", "message": "the document has no text", "retryable": False,
}  # fmt: skip


def _job(name: str, model: type[JobData], more: dict[str, Any], *, by_wildcard: bool = True) -> EventType:
    example = {
        "job_id": JOB, "agent": "project_manager", "action": "bootstrap", "version": 1, "metadata": {"order": "7"},
        "links": LINKS, **more,
    }  # fmt: skip
    ends = more["status"] in {"succeeded", "failed", "cancelled"}
    return EventType(name=name, model=model, example=example, of_job=True, ends_job=ends, by_wildcard=by_wildcard)


JOBS: Final = (
    _job("job.created", JobCreated, {"status": "queued"}),
    _job("job.debounced", JobDebounced, {"status": "scheduled", "run_at": MOMENT}),
    _job("job.started", JobStarted, {"status": "running"}),
    _job(
        "job.progressed",
        JobProgressed,
        {"status": "running", "step": "extract_specifications", "progress": 0.41, "message": "12 of 40 passages"},
        by_wildcard=False,
    ),
    _job("job.partial", JobPartial, {"status": "running", "step": "extract_specifications", "size": 1024}),
    _job(
        "job.waiting",
        JobWaiting,
        {
            "status": "waiting", "step": "ask_budget", "waits_for": "input", "until": MOMENT,
            "prompt": "How many users?",
        },
    ),
    _job("job.resumed", JobResumed, {"status": "running"}),
    _job("job.moved", JobMoved, {"status": "queued", "from": 1, "to": 2}),
    _job("job.succeeded", JobSucceeded, {"status": "succeeded"}),
    _job("job.failed", JobFailed, {"status": "failed", "error": UNREADABLE}),
    _job("job.cancelled", JobCancelled, {"status": "cancelled", "reason": "no longer wanted"}),
    EventType(name="step.succeeded", model=StepSucceeded, example=STEP, of_job=True),
    EventType(name="step.retrying", model=StepRetrying, example=STEP | {"error": BUSY, "retry_in": 2.0}, of_job=True),
    EventType(name="step.failed", model=StepFailed, example=STEP | {"error": UNREADABLE}, of_job=True),
    EventType(name="agent.*", model=AgentData, example={"job_id": JOB, "step": "read", "pages": 12}, of_job=True),
)  # fmt: skip
