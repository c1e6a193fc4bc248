"""The embedded analyst: lexicons, cues and quantities; no key, no network, milliseconds."""

from agora.language.embedded.analyst import EmbeddedAnalyst

__all__ = ["EmbeddedAnalyst"]
