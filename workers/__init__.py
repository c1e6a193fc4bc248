"""Celery workers: thin tasks, and the agents that they run."""
