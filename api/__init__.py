"""The HTTP API: authenticates, validates, calls one service, answers. It imports no agent."""
