"""The Python client: submit, wait, stream, verify."""

from agora.client.errors import ApiError, Unreachable
from agora.client.http import Agora
from agora.client.local import local
from agora.client.wire import Answer
from agora.webhooks.signing import verify

__all__ = ["Agora", "Answer", "ApiError", "Unreachable", "local", "verify"]
