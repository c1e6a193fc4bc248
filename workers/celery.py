"""The Celery app of the workers: ``celery --app workers.celery worker``. Entry point only."""

import warnings

from celery.exceptions import SecurityWarning

from agora.broker import app
from workers import deliveries, lifecycle, steps

# Celery warns whoever runs as root of pickled messages. There are none: messages are JSON (celeryconfig.py).
warnings.filterwarnings("ignore", category=SecurityWarning)

__all__ = ["app", "deliveries", "lifecycle", "steps"]
