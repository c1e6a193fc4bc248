"""Contradictions between specifications, one file per kind of reasoning."""

from agora.language.embedded.conflicts.find import ConflictFinder

__all__ = ["ConflictFinder"]
