"""Webhooks: Standard Webhooks 1.0.0, with the schedule in Postgres and a guard on what may be dialled."""
