"""Small agents made on the spot."""

from pydantic import BaseModel

from agora.agents import Agent


class Number(BaseModel):
    """The input and output of every probe."""

    n: int = 1


def agent_with(**actions):
    """An agent whose actions each have the given functions as steps."""
    agent = Agent("probe")
    for name, steps in actions.items():
        action = agent.action(name, input=Number, output=Number, max_iterations=4)
        for step in steps:
            function, options = step if isinstance(step, tuple) else (step, {})
            action.step(**options)(function)
    return agent
