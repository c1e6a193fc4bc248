"""The dated versions of the API. Views and schemas know the newest only; what an older one is like is told here.

A version is a list of changes, each of which can make a request of the version before into one of its own, and an
answer of its own into one of the version before. A request of an old version goes through all later changes, the oldest
first; its answer comes back through them, the newest first. docs/versioning.md says how to add one.
"""
