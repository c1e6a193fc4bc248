"""The states of projects, sessions, specifications and conflicts; the database repeats them as checks."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar


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


PHASE_TRANSITIONS: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.DISCOVERY: frozenset({Phase.ANALYSIS}),
    Phase.ANALYSIS: frozenset({Phase.DISCOVERY, Phase.DESIGN}),
    Phase.DESIGN: frozenset({Phase.DISCOVERY, Phase.ANALYSIS, Phase.IMPLEMENTATION}),
    Phase.IMPLEMENTATION: frozenset({Phase.DISCOVERY, Phase.ANALYSIS, Phase.DESIGN}),
}
"""A project goes on one phase at a time, and back to any earlier one."""

SPECIFICATION_TRANSITIONS: Final[Mapping[SpecificationState, frozenset[SpecificationState]]] = {
    SpecificationState.DRAFT: frozenset(
        {SpecificationState.APPROVED, SpecificationState.SUPERSEDED, SpecificationState.REJECTED}
    ),
    SpecificationState.APPROVED: frozenset({SpecificationState.IMPLEMENTED, SpecificationState.SUPERSEDED}),
    SpecificationState.IMPLEMENTED: frozenset({SpecificationState.SUPERSEDED}),
    SpecificationState.SUPERSEDED: frozenset(),
    SpecificationState.REJECTED: frozenset(),
}

CONFLICT_TRANSITIONS: Final[Mapping[ConflictState, frozenset[ConflictState]]] = {
    ConflictState.OPEN: frozenset({ConflictState.RESOLVED, ConflictState.IGNORED}),
    ConflictState.RESOLVED: frozenset(),
    ConflictState.IGNORED: frozenset(),
}

State = TypeVar("State", bound=StrEnum)


def may_become(table: Mapping[State, frozenset[State]], target: State) -> list[str]:
    """The states from which a table allows a move to ``target``, sorted: the WHERE of the move."""
    return sorted(state for state, moves in table.items() if target in moves)
