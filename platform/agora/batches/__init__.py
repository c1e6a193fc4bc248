"""Batches: up to a thousand jobs accepted together, all or nothing; watched and cancelled as one."""
