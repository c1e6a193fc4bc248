"""The job engine: the page to read is ``engine.py``."""
