"""Every way in which the harness hurts the platform."""

from tests.chaos.faults import processes, services, world
from tests.chaos.faults.registry import FAULTS, CannotRun, Fault

__all__ = ["FAULTS", "CannotRun", "Fault", "processes", "services", "world"]
