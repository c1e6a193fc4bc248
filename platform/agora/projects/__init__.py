"""Projects, their sessions, specifications and conflicts."""
