"""The Celery app of the workers: ``celery --app workers.celery worker``. Entry point only."""

from agora.broker import app
from workers import deliveries, lifecycle, steps

__all__ = ["app", "deliveries", "lifecycle", "steps"]
