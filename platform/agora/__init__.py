"""Agora: a self-hosted, durable task queue for agent jobs."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("agora-platform")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+source"

__all__ = ["__version__"]
