"""A clock that stands still until it is told to go on."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Call it for the time, as ``ctx.clock()`` does. It only goes forward, and only by hand."""

    def __init__(self, start: datetime = START) -> None:
        if start.tzinfo is None:
            raise ValueError(f"start must have a time zone, {start} has none")
        self._now = start

    def __call__(self) -> datetime:
        """What time it is."""
        return self._now

    def skip(self, time: timedelta) -> None:
        """Let time pass. Raises ValueError for a negative one."""
        if time < timedelta(0):
            raise ValueError(f"time does not go back: {time}")
        self._now += time

    def skip_to(self, moment: datetime) -> None:
        """Let time pass until ``moment``; a moment that has passed changes nothing."""
        self._now = max(self._now, moment)

    def after(self, seconds: float) -> datetime:
        """The moment that lies so many seconds ahead."""
        return self._now + timedelta(seconds=seconds)
