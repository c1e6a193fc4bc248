"""How long steps take in this process: what decides which of them may share a turn."""

import threading

QUICK_SECONDS = 0.01
"""A step that takes no longer on average may wait behind others of its kind, and others behind it."""
WEIGHT = 0.2
"""Of the newest try in the moving average."""


class Pace:
    """A moving average of the seconds that each label's tries took. Shared by the threads of a process."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def note(self, label: str, seconds: float) -> None:
        """Take a try into account."""
        with self._lock:
            before = self._seconds.get(label, seconds)
            self._seconds[label] = before + WEIGHT * (seconds - before)

    def is_quick(self, label: str) -> bool:
        """Whether this process has run such a step, and it is quick."""
        return self._seconds.get(label, QUICK_SECONDS + 1) <= QUICK_SECONDS

    def quick(self) -> dict[str, float]:
        """The quick labels and their seconds."""
        with self._lock:
            return {label: seconds for label, seconds in self._seconds.items() if seconds <= QUICK_SECONDS}
