"""Retention: what has ended goes after its time, unless a legal hold keeps it."""
