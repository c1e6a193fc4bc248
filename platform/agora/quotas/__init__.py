"""How much a team may have and how often callers may call: tiers, quotas, rate limits."""
