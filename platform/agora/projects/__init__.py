"""Projects: sessions, specifications, conflicts, and how complete they are."""
