"""Which majors there are, which versions each has, and what lies between a version and the newest."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agora.api_versions import OLDEST
from api.versions import v2026_11_30
from api.versions.change import Change, Version, all_operations, moment_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Deprecated:
    """That a version was replaced: since when, until when it is answered at least, and by what."""

    since: datetime
    sunset: datetime | None
    successor: str


class Registry:
    """The versions of a major, newest first."""

    def __init__(self, versions: Sequence[Version]) -> None:
        self.versions = tuple(versions)
        self.dates = tuple(version.date for version in reversed(self.versions))
        self.oldest, self.newest = self.dates[0], self.dates[-1]
        self._between: dict[tuple[str, str], tuple[Change, ...]] = {}
        self._deprecated: dict[str, Deprecated] = {}
        later: tuple[Change, ...] = ()
        for newer, version in zip((None, *self.versions), self.versions, strict=False):
            if newer is not None:
                later = (*later, *newer.changes)
                sunset = None if version.sunset is None else moment_of(version.sunset)
                since = moment_of(newer.date)
                self._deprecated[version.date] = Deprecated(since=since, sunset=sunset, successor=newer.date)
            for operation in all_operations(later):
                concerned = (one for one in later if operation in one.operations)
                self._between[version.date, operation] = tuple(concerned)
        self.removed = {
            operation: version.date
            for version in self.versions
            for change in version.changes
            for operation in change.removes
        }
        """Operations that are gone, and from which version on."""

    def between(self, version: str, operation: str | None) -> tuple[Change, ...]:
        """The changes of an operation that are newer than a version, the newest first."""
        return self._between.get((version, operation or ""), ())

    def deprecated(self, version: str) -> Deprecated | None:
        """Since when and until when a version is deprecated; None: it is the newest."""
        return self._deprecated.get(version)

    def at(self, pinned: str) -> str:
        """What a key that is pinned to a date speaks: the newest version up to that day, or the first one."""
        return max((date for date in self.dates if date <= pinned), default=self.oldest)


V1 = Registry([v2026_11_30.VERSION, Version(date=OLDEST, sunset="2027-12-01")])


@dataclass(frozen=True, slots=True)
class Majors:
    """The majors by the part of the path that names them."""

    known: dict[str, Registry] = field(default_factory=lambda: {"v1": V1})

    def named(self, path: str) -> str | None:
        """The major that a path of the API names; None: it is no path of the API."""
        parts = path.split("/", 3)
        return parts[2] if len(parts) > 2 and parts[1] == "api" else None  # noqa: PLR2004  # "", "api", "v1"


MAJORS = Majors()
