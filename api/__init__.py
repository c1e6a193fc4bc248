"""The HTTP API: authenticates, validates, calls one service, answers. It imports no agent."""

from api.app import create_app

__all__ = ["create_app"]
