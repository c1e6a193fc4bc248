"""Find the agents of this worker: modules that AGORA_AGENTS names, and packages that are installed beside Agora.

Each word of AGORA_AGENTS is ``installed`` (every entry point of the group ``agora.agents``), the name of one such
entry point, a module, or ``module:attribute``. Unset, it is ``workers.agents,installed``.

What is named must load, or the worker does not start. Of packages that are merely installed, one that is broken is
logged as an error and left out: it shall not take the others with it.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from agora.agents import Agent
from agora.errors import AgoraError, SettingsError
from agora.settings import get_settings
from agora.telemetry import get_logger

GROUP = "agora.agents"
INSTALLED = "installed"

log = get_logger(__name__)


def load_agents(words: Sequence[str]) -> list[Agent]:
    """Import what the words name and collect its agents, each once.

    Raises:
        SettingsError: something named cannot be imported or declares no agent, or two agents declare the same version
            of the same action. One line says what and where.
    """
    found: dict[tuple[str, str, int], tuple[Agent, str]] = {}
    agents: list[Agent] = []
    for source, declared in _declared(words):
        for agent in declared:
            if any(agent is known for known in agents):
                continue
            for action, version in agent.actions:
                _, other = found.setdefault((agent.name, action, version), (agent, source))
                if other != source:
                    raise SettingsError(
                        f"AGORA_AGENTS: {agent.name}.{action} version {version} is declared by {other} and by {source}"
                    )
            agents.append(agent)
    return agents


def _declared(words: Sequence[str]) -> Iterator[tuple[str, Sequence[Agent]]]:
    """Where agents come from, as people would say it, and the agents."""
    installed = sorted(entry_points(group=GROUP), key=lambda one: one.name)
    for word in words:
        if word == INSTALLED:
            for point in installed:
                try:
                    yield _source(point), _load_point(point)
                except SettingsError as error:
                    log.error("an installed agent package is left out", reason=str(error))  # noqa: TRY400  # one line
            continue
        points = [point for point in installed if point.name == word]
        if len(points) > 1:
            several = " and by ".join(_source(point) for point in points)
            raise SettingsError(f"AGORA_AGENTS: entry point {word} is declared by {several}")
        if points:
            yield _source(points[0]), _load_point(points[0])
        else:
            yield f"module {word}", _load_module(word)


def _source(point: EntryPoint) -> str:
    package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown package"
    return f"{package} ({point.name} = {point.value})"


def _load_point(point: EntryPoint) -> Sequence[Agent]:
    try:
        loaded = point.load()
    except Exception as error:  # foreign code may raise anything while it is imported
        raise SettingsError(f"AGORA_AGENTS: {_source(point)} cannot be imported: {_told(error)}") from error
    return _agents_of(loaded, _source(point))


def _load_module(word: str) -> Sequence[Agent]:
    name, _, attribute = word.partition(":")
    try:
        loaded: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise SettingsError(f"AGORA_AGENTS: there is no module {error.name}, and no entry point {word}") from error
        raise SettingsError(f"AGORA_AGENTS: module {name} cannot be imported: {_told(error)}") from error
    except Exception as error:  # as above
        raise SettingsError(f"AGORA_AGENTS: module {name} cannot be imported: {_told(error)}") from error
    if attribute:
        try:
            loaded = getattr(loaded, attribute)
        except AttributeError:
            raise SettingsError(f"AGORA_AGENTS: module {name} has no {attribute}") from None
    return _agents_of(loaded, f"module {word}")


def _agents_of(loaded: Any, source: str) -> Sequence[Agent]:
    """An Agent, a sequence of them, or a module: its AGENTS, or every Agent at its top level."""
    if isinstance(loaded, ModuleType):
        loaded = getattr(loaded, "AGENTS", None) or [one for one in vars(loaded).values() if isinstance(one, Agent)]
    declared = [loaded] if isinstance(loaded, Agent) else list(loaded) if isinstance(loaded, list | tuple) else []
    if not declared or not all(isinstance(one, Agent) for one in declared):
        raise SettingsError(f"AGORA_AGENTS: {source} declares no agent")
    return declared


def _told(error: Exception) -> str:
    """What went wrong and where, in one line."""
    place = ""
    if isinstance(error, SyntaxError):
        place = f" ({error.filename}, line {error.lineno})"
    elif error.__traceback__ is not None:
        trace = error.__traceback__
        while trace.tb_next is not None:
            trace = trace.tb_next
        place = f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"
    told = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {' '.join(told.split())}{place}"


def main() -> int:
    """Load what a worker would load, and say in one line what is wrong: `agora dev` asks before it starts workers."""
    try:
        load_agents(get_settings().agents)
    except AgoraError as error:
        print(error, file=sys.stderr)  # noqa: T201  # it is what the program is for
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
