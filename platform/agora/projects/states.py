"""The states of projects, sessions, specifications and conflicts; the database repeats them as checks."""

from enum import StrEnum


class Phase(StrEnum):
    """How far a project is."""

    DISCOVERY = "discovery"
    ANALYSIS = "analysis"
    DESIGN = "design"
    IMPLEMENTATION = "implementation"


class ProjectState(StrEnum):
    """Whether a project is worked on."""

    ACTIVE = "active"  # in: made, restored
    COMPLETED = "completed"  # in: declared done
    ARCHIVED = "archived"  # in: put away; can be restored


class SessionState(StrEnum):
    """Whether a session goes on."""

    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"  # ended once only


class SpecificationState(StrEnum):
    """What became of a specification."""

    DRAFT = "draft"  # in: extracted
    APPROVED = "approved"  # in: a person agreed
    IMPLEMENTED = "implemented"
    SUPERSEDED = "superseded"  # in: a newer value of the same key
    REJECTED = "rejected"


class ConflictState(StrEnum):
    """Whether a conflict still needs a decision."""

    OPEN = "open"
    RESOLVED = "resolved"
    IGNORED = "ignored"
