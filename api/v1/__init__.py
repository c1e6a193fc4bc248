"""Version 1: one blueprint for each resource."""

from api.v1 import (
    agents,
    batches,
    budgets,
    bulk,
    events,
    files,
    holds,
    jobs,
    keys,
    limits,
    lineage,
    moves,
    queues,
    schedules,
    webhooks,
)

BLUEPRINTS = (
    jobs.blueprint,
    budgets.blueprint,
    moves.blueprint,
    lineage.blueprint,
    events.blueprint,
    batches.blueprint,
    bulk.blueprint,
    schedules.blueprint,
    agents.blueprint,
    files.blueprint,
    webhooks.endpoints,
    webhooks.deliveries,
    keys.blueprint,
    queues.blueprint,
    limits.blueprint,
    holds.blueprint,
)
