"""Logs and metrics: structured log lines with bound names, Prometheus counters of this process."""

import logging
import sys

import structlog
from prometheus_client import Counter, Histogram

from agora.settings import get_settings

STEPS = Counter("agora_steps_total", "Tries of steps that ended, by label and outcome.", ["label", "outcome"])
STEP_SECONDS = Histogram("agora_step_seconds", "How long tries of steps ran.", ["label"])
RINGS = Counter("agora_rings_total", "Rings of the broker, by outcome.", ["outcome"])


def configure_logging() -> None:
    """Set up structlog for this process, as the settings say; lines go to standard error."""
    settings = get_settings()
    level = getattr(logging, settings.log_level.upper())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    # Libraries log through the standard library: their warnings and errors must be seen.
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, force=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry ``module=name``."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return logger
