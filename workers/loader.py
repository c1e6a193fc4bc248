"""Find the agents of this worker."""

import importlib
from collections.abc import Sequence

from agora.agents import Agent
from agora.errors import SettingsError


def load_agents(modules: Sequence[str]) -> list[Agent]:
    """Import each module and collect its agents: its AGENTS, or every Agent at its top level.

    Raises:
        SettingsError: a module cannot be imported, or declares no agent.
    """
    found: list[Agent] = []
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise SettingsError(f"AGORA_AGENTS: there is no module {error.name}") from error
        declared = getattr(module, "AGENTS", None) or [v for v in vars(module).values() if isinstance(v, Agent)]
        if not declared:
            raise SettingsError(f"AGORA_AGENTS: module {name} declares no agent")
        found.extend(declared)
    return found
