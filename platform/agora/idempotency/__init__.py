"""Idempotency keys of creates: a repeat gets what the first one made."""
