"""Jobs, steps, events."""

import marshmallow as ma

from agora.jobs.concurrency import MAX_KEY, MAX_LIMIT, POLICIES
from agora.jobs.states import JobState, StepState
from agora.jobs.unique import MAX_KEY as MAX_TWIN_KEY
from agora.jobs.unique import MAX_SECONDS, OPEN_STATES
from api.schemas.budgets import BudgetIn, BudgetOut
from api.schemas.common import Moment, PageArgs, Schema, links_to, maybe, page_of
from api.schemas.order import WaitsOut

MAX_REASON = 500
SECONDS = ma.validate.Range(0, MAX_SECONDS, min_inclusive=False)
STATUSES = [str(state) for state in JobState]
ITEM_STATUSES = [str(state) for state in StepState]


class InlineWebhookIn(Schema):
    """A one-off callback."""

    url = ma.fields.String(required=True, validate=ma.validate.Length(1, 2048))
    secret = ma.fields.String(load_default=None, validate=ma.validate.Length(1, 200))
    events = ma.fields.List(ma.fields.String(validate=ma.validate.Length(1, 100)), validate=ma.validate.Length(1, 20))


class UniqueIn(Schema):
    """One job for a key."""

    key = ma.fields.String(required=True, validate=ma.validate.Length(1, MAX_TWIN_KEY))
    window = ma.fields.Float(load_default=None, allow_none=True, validate=SECONDS)
    states = ma.fields.List(
        ma.fields.String(validate=ma.validate.OneOf(STATUSES)), load_default=list(OPEN_STATES),
        validate=ma.validate.Length(1, len(STATUSES)), metadata={"description": "in which a job counts; open ones"},
    )  # fmt: skip


class DebounceIn(Schema):
    """One job for many submits."""

    key = ma.fields.String(required=True, validate=ma.validate.Length(1, MAX_TWIN_KEY))
    window = ma.fields.Float(required=True, validate=SECONDS)
    max_wait = ma.fields.Float(load_default=None, allow_none=True, validate=SECONDS)


class JobIn(Schema):
    """A job to be run."""

    agent = ma.fields.String(required=True, validate=ma.validate.Length(1, 100))
    action = ma.fields.String(required=True, validate=ma.validate.Length(1, 100))
    version = ma.fields.Integer(strict=True, load_default=None, validate=ma.validate.Range(1, 1_000_000))
    input = ma.fields.Dict(keys=ma.fields.String(), required=True)
    priority = ma.fields.Integer(strict=True, load_default=5, validate=ma.validate.Range(0, 9))
    run_at = Moment(load_default=None)
    deadline = Moment(load_default=None)
    metadata = ma.fields.Dict(keys=ma.fields.String(validate=ma.validate.Length(1, 100)), load_default=dict)
    webhook = ma.fields.Nested(InlineWebhookIn, load_default=None)
    budget = ma.fields.Nested(BudgetIn, load_default=None)
    concurrency_key = ma.fields.String(
        load_default=None, validate=ma.validate.Length(1, MAX_KEY),
        metadata={"description": "jobs of the team with the same key run one after the other, or `concurrency_limit`"},
    )  # fmt: skip
    concurrency_limit = ma.fields.Integer(strict=True, load_default=1, validate=ma.validate.Range(1, MAX_LIMIT))
    concurrency_policy = ma.fields.String(
        load_default="queue", validate=ma.validate.OneOf(POLICIES),
        metadata={"description": "what becomes of a job that finds no room; `cancel_running` cancels the oldest"},
    )  # fmt: skip
    unique = ma.fields.Nested(
        UniqueIn, load_default=None,
        metadata={"description": "while a job of the action with this key is open, or younger than `window` seconds, "
                                 "the answer is that job (200, `deduplicated`)"},
    )  # fmt: skip
    debounce = ma.fields.Nested(
        DebounceIn, load_default=None,
        metadata={"description": "run `window` seconds after the last submit with this key, with its input"},
    )  # fmt: skip


class JobQuery(PageArgs):
    """Which jobs."""

    parent_id = ma.fields.String(load_default=None, validate=ma.validate.Length(1, 100))
    status = ma.fields.List(ma.fields.String(validate=ma.validate.OneOf(STATUSES)), load_default=list)
    agent = ma.fields.String(load_default=None, validate=ma.validate.Length(1, 100))
    action = ma.fields.String(load_default=None, validate=ma.validate.Length(1, 100))
    error_code = ma.fields.String(load_default=None, validate=ma.validate.Length(1, 100))
    created_after = Moment(load_default=None)
    created_before = Moment(load_default=None)
    metadata = ma.fields.List(
        ma.fields.String(validate=ma.validate.Length(1, 2000)),
        load_default=list,
        metadata={"description": "`key:value`, or a JSON object: jobs whose metadata contains all of it"},
    )
    batch = ma.fields.String(load_default=None, validate=ma.validate.Length(1, 100))
    schedule = ma.fields.String(load_default=None, validate=ma.validate.Length(1, 100))


class CancelIn(Schema):
    """Why."""

    reason = ma.fields.String(load_default="", validate=ma.validate.Length(0, MAX_REASON))


class InputIn(Schema):
    """The answer to what a job asks; ``question`` is the id of the question that it answers."""

    question = ma.fields.String(load_default=None, validate=ma.validate.Length(1, 100))
    value = ma.fields.Raw(required=True, allow_none=True)


class EventQuery(Schema):
    """From where in the stream."""

    after = ma.fields.Integer(load_default=0, validate=ma.validate.Range(0, 2**31 - 1))
    limit = ma.fields.Integer(load_default=200, validate=ma.validate.Range(1, 1000))


class AttemptOut(Schema):
    """One try of a step."""

    number = ma.fields.Integer()
    outcome = ma.fields.String()
    error = ma.fields.Dict(allow_none=True)
    worker_id = ma.fields.String(allow_none=True)
    started_at = Moment(allow_none=True)
    ended_at = Moment()


class StepUsageOut(Schema):
    """What one try of a step spent on one model."""

    attempt = ma.fields.Integer()
    model = ma.fields.String()
    calls = ma.fields.Integer()
    tokens_in = ma.fields.Integer()
    tokens_out = ma.fields.Integer()
    cost_usd = ma.fields.String(metadata={"description": "an exact decimal"})


class ChildrenUsageOut(Schema):
    """What the jobs spent that a job spawned, and those that they spawned."""

    jobs = ma.fields.Integer()
    tokens_in = ma.fields.Integer()
    tokens_out = ma.fields.Integer()
    tokens = ma.fields.Integer()
    cost_usd = ma.fields.String(metadata={"description": "an exact decimal"})


class UsageOut(Schema):
    """What a job's steps spent so far, lost and failed tries included. What no step told of is missing."""

    tokens_in = ma.fields.Integer(metadata=maybe())
    tokens_out = ma.fields.Integer(metadata=maybe())
    tokens = ma.fields.Integer(metadata=maybe())
    cost_usd = ma.fields.String(metadata=maybe("an exact decimal"))
    run_seconds = ma.fields.Float(metadata=maybe("all tries of all steps together; not in lists"))
    children = ma.fields.Nested(ChildrenUsageOut, metadata=maybe("not in its sums; not in lists"))


class StepOut(Schema):
    """One step of a job."""

    id = ma.fields.String()
    name = ma.fields.String()
    position = ma.fields.Integer()
    iteration = ma.fields.Integer()
    item = ma.fields.Integer()
    status = ma.fields.String()
    queue = ma.fields.String()
    attempt = ma.fields.Integer()
    lost_leases = ma.fields.Integer()
    run_at = Moment()
    wake_at = Moment(allow_none=True)
    suspension = ma.fields.Dict(allow_none=True)
    error = ma.fields.Dict(allow_none=True)
    result = ma.fields.Raw(allow_none=True)
    copied_from = ma.fields.String(
        allow_none=True, metadata={"description": "the step of another job whose result this is"}
    )
    started_at = Moment(allow_none=True)
    ended_at = Moment(allow_none=True)
    tries = ma.fields.List(ma.fields.Nested(AttemptOut))
    usage = ma.fields.List(ma.fields.Nested(StepUsageOut))
    items = ma.fields.Dict(
        keys=ma.fields.String(), values=ma.fields.Integer(), allow_none=True,
        metadata={"description": "of a map step: how many items stand in each state, and in all"},
    )  # fmt: skip


class ItemQuery(PageArgs):
    """Which items of which map step."""

    step = ma.fields.String(required=True, validate=ma.validate.Length(1, 100))
    iteration = ma.fields.Integer(load_default=0, validate=ma.validate.Range(0, 2**31 - 1))
    status = ma.fields.List(ma.fields.String(validate=ma.validate.OneOf(ITEM_STATUSES)), load_default=list)
    limit = ma.fields.Integer(load_default=50, validate=ma.validate.Range(1, 500))


class ItemOut(Schema):
    """One item of a map step."""

    id = ma.fields.String()
    index = ma.fields.Integer(metadata={"description": "its place in the list that was mapped over, from 0"})
    status = ma.fields.String(validate=ma.validate.OneOf(ITEM_STATUSES))
    attempt = ma.fields.Integer()
    lost_leases = ma.fields.Integer()
    value = ma.fields.Raw(allow_none=True)
    result = ma.fields.Raw(allow_none=True)
    error = ma.fields.Dict(allow_none=True)
    started_at = Moment(allow_none=True)
    ended_at = Moment(allow_none=True)


class QuestionOut(Schema):
    """What a waiting job asks."""

    id = ma.fields.String(metadata={"description": "give it with the answer"})
    step = ma.fields.String()
    prompt = ma.fields.String()
    schema = ma.fields.Dict(metadata={"description": "JSON Schema of an answer"})
    asked_at = Moment(allow_none=True)
    until = Moment(allow_none=True)


class JobDeliveryOut(Schema):
    """A webhook delivery about a job."""

    id = ma.fields.String()
    endpoint_id = ma.fields.String()
    event_type = ma.fields.String()
    status = ma.fields.String()
    attempt = ma.fields.Integer()
    last_status_code = ma.fields.Integer(allow_none=True)
    last_error = ma.fields.String(allow_none=True)
    created_at = Moment()
    ended_at = Moment(allow_none=True)


class JobOut(Schema):
    """A job."""

    id = ma.fields.String()
    agent = ma.fields.String()
    action = ma.fields.String()
    version = ma.fields.Integer()
    status = ma.fields.String(validate=ma.validate.OneOf(STATUSES))
    priority = ma.fields.Integer()
    input = ma.fields.Raw()
    output = ma.fields.Raw(allow_none=True)
    error = ma.fields.Dict(allow_none=True)
    progress = ma.fields.Float()
    progress_message = ma.fields.String()
    usage = ma.fields.Nested(UsageOut)
    budget = ma.fields.Nested(BudgetOut, allow_none=True)
    waits = ma.fields.Nested(WaitsOut, allow_none=True, metadata={"description": "why it does not go on"})
    partial_output = ma.fields.Raw(
        allow_none=True, metadata={"description": "the output so far, as steps showed it; kept when the job ends"}
    )
    metadata = ma.fields.Dict()
    root_id = ma.fields.String()
    parent_id = ma.fields.String(allow_none=True)
    retry_of = ma.fields.String(allow_none=True)
    forked_from = ma.fields.String(allow_none=True)
    batch_id = ma.fields.String(allow_none=True)
    schedule_id = ma.fields.String(allow_none=True)
    run_at = Moment()
    deadline = Moment(allow_none=True)
    cancel_requested_at = Moment(allow_none=True)
    created_at = Moment()
    started_at = Moment(allow_none=True)
    ended_at = Moment(allow_none=True)
    steps = ma.fields.List(ma.fields.Nested(StepOut))
    question = ma.fields.Nested(QuestionOut, allow_none=True)
    deliveries = ma.fields.List(
        ma.fields.Nested(JobDeliveryOut), metadata=maybe("the newest 20; with `include=deliveries` only")
    )
    request_id = ma.fields.String(
        allow_none=True,
        metadata={"description": "of the request that made it, as in logs; of a child: that made its parent"},
    )
    links = links_to(
        self="/api/v1/jobs/{id}", events="/api/v1/jobs/{id}/events", cancel="/api/v1/jobs/{id}/cancel",
        retry="/api/v1/jobs/{id}/retry", fork="/api/v1/jobs/{id}/fork",
    )  # fmt: skip


class SubmittedOut(JobOut):
    """A job that was just accepted."""

    deduplicated = ma.fields.Boolean(metadata=maybe("this job was there before; no other was made"))
    webhook_secret = ma.fields.String(metadata=maybe("of the inline webhook; shown this once"))


class EventOut(Schema):
    """Something that happened."""

    id = ma.fields.String()
    job_id = ma.fields.String(allow_none=True)
    seq = ma.fields.Integer()
    type = ma.fields.String()
    version = ma.fields.Integer()
    data = ma.fields.Dict()
    occurred_at = Moment()


class EventsOut(Schema):
    """Events of a job, in order."""

    items = ma.fields.List(ma.fields.Nested(EventOut))
    next_after = ma.fields.Integer(metadata={"description": "pass as `after` for what follows"})


JobPage = page_of(JobOut, "JobPage")
ItemPage = page_of(ItemOut, "ItemPage")
