"""Health and metrics: open, cheap, and honest."""

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from agora import health
from agora.identity import uses
from agora.metrics import everywhere, name_of
from agora.telemetry import get_logger
from agora.webhooks import watch

blueprint = Blueprint("health", __name__)
ESSENTIAL = ("database", "auth_database", "dispatcher")
READY, NOT_READY = 200, 503

log = get_logger(__name__)


@blueprint.get("/healthz")
def live() -> Response:
    """This process answers."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def ready() -> tuple[Response, int]:
    """The platform can do its work; Redis being away is shown but does not count: jobs are still accepted."""
    checks = health.readiness()
    ok = all(checks[name]["ok"] for name in ESSENTIAL)
    return jsonify(status="ready" if ok else "not-ready", checks=checks), READY if ok else NOT_READY


@blueprint.get("/metrics")
def metrics() -> Response:
    """Prometheus text: queues from Postgres, so that any process tells the same, and what every process counts."""
    registry = CollectorRegistry()
    depth = Gauge("agora_queue_ready_steps", "Due steps that wait.", ["queue"], registry=registry)
    rung = Gauge("agora_queue_rung_steps", "Due steps that workers were told of.", ["queue"], registry=registry)
    age = Gauge("agora_queue_age_seconds", "Age of the oldest due step.", ["queue"], registry=registry)
    tick = Gauge("agora_dispatcher_tick_age_seconds", "Since the dispatcher last ticked.", registry=registry)
    running = Gauge("agora_queue_running_steps", "Steps that run.", ["queue"], registry=registry)
    held = Gauge("agora_queue_held_steps", "Ready steps that are not due.", ["queue", "reason"], registry=registry)
    work = Gauge("agora_queue_work_seconds", "What one slot needs for what is due.", ["queue"], registry=registry)
    paused = Gauge("agora_queue_paused", "1 while the queue is paused.", ["queue"], registry=registry)
    gone = Gauge("agora_retention_removed", "Removed by retention so far.", ["kind"], registry=registry)
    queues, found = health.queues()
    for one in queues:
        depth.labels(one.name).set(one.due + one.rung)
        rung.labels(one.name).set(one.rung)
        age.labels(one.name).set(one.age_seconds)
        running.labels(one.name).set(one.running)
        paused.labels(one.name).set(one.paused_at is not None)
        if one.work_seconds is not None:
            work.labels(one.name).set(one.work_seconds)
        for reason, count in one.held.items():
            held.labels(one.name, reason).set(count)
    for kind, count in health.removed().items():
        gone.labels(kind).set(count)
    _watch_webhooks(registry)
    _watch_versions(registry)
    tick.set(float("inf") if found is None else found)
    counted = everywhere(name_of("web"))
    return Response(generate_latest(registry) + generate_latest(counted), content_type=CONTENT_TYPE_LATEST)


def _watch_versions(registry: CollectorRegistry) -> None:
    try:
        found = uses.look()
    except (OperationalError, InterfaceError, PoolTimeout) as error:  # what queues hold must still be seen
        log.warning("the auth database is away; metrics of versions are left out", error=type(error).__name__)
        return
    used = Gauge("agora_deprecated_uses", "Requests so far that used it.", ["feature"], registry=registry)
    keys = Gauge("agora_api_keys", "Valid API keys, by the version that they speak.", ["version"], registry=registry)
    for feature, count in found.uses.items():
        used.labels(feature).set(count)
    for version, count in found.keys.items():
        keys.labels(version).set(count)


def _watch_webhooks(registry: CollectorRegistry) -> None:
    endpoints = Gauge("agora_webhook_endpoints", "Endpoints, by state.", ["state"], registry=registry)
    lag = Gauge("agora_webhook_lag_seconds", "How late the first endpoint is that may be served.", registry=registry)
    tries = Gauge("agora_webhook_recent_tries", "Tries of the last minute.", ["outcome"], registry=registry)
    took = Gauge(
        "agora_webhook_recent_try_seconds", "How long they took.", ["outcome", "quantile"], registry=registry
    )  # fmt: skip
    found = watch.look()
    lag.set(found.lag_seconds)
    for state in watch.STATES:
        endpoints.labels(state).set(found.endpoints.get(state, 0))
    for one in found.tries:
        tries.labels(one.outcome).set(one.count)
        for quantile, seconds in zip(watch.QUANTILES, one.seconds, strict=True):
            took.labels(one.outcome, quantile).set(seconds)
