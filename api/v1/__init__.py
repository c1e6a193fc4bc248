"""Version 1: one blueprint for each resource."""

from api.v1 import agents, batches, budgets, events, files, jobs, keys, lineage, moves, webhooks

BLUEPRINTS = (
    jobs.blueprint,
    budgets.blueprint,
    moves.blueprint,
    lineage.blueprint,
    events.blueprint,
    batches.blueprint,
    agents.blueprint,
    files.blueprint,
    webhooks.endpoints,
    webhooks.deliveries,
    keys.blueprint,
)
