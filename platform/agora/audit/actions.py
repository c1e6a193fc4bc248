"""Every action that the audit log knows: what it is done to, and which of its fields an entry may show.

A field that is named in neither list may not be recorded at all: a new column is shown on purpose or not at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HIDDEN: Final = "[hidden]"
"""In place of a value that changed and must not be seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """``shown`` fields appear with their values; of ``hidden`` ones only that they changed."""

    name: str
    object_type: str
    shown: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()


KEY = "name prefix scopes expires_at replaces overlap api_version requests_per_minute"
WISH = "new_job_id from_step version priority deadline metadata"
HOLD = "name metadata"
LIMIT = "target max_running rate burst"
SCHEDULE = (
    "name agent action version priority metadata budget cron timezone every at ends_at catch_up paused",
    "input",
)
ENDPOINT = (
    """uid url description event_types agents projects metadata_filter schedule max_in_flight rate_limit fifo payload
    metadata status""",
    "headers",
)
WEBHOOK_KEY = "endpoint_id algorithm public_key overlap expires_at"
REPLAY = "action endpoint_id filter matched"
LINK = "label scope read_only expires_at"

_WRITTEN: Final[Mapping[str, tuple[str, ...]]] = {
    # the auth database
    "key.created": ("key", KEY),
    "key.pinned": ("key", "api_version"),
    "key.rotated": ("key", KEY),
    "key.revoked": ("key", f"{KEY} reason"),
    "team.created": ("team", "name"),
    "team.renamed": ("team", "name"),
    "team.tier_changed": ("team", "tier quotas"),
    "team.exported": ("team",),
    "team.erased": ("team", "despite_holds"),
    "member.joined": ("user", "email role invitation_id"),
    "member.role_changed": ("user", "email role"),
    "member.removed": ("user", "email role"),
    "member.left": ("user", "email role"),
    "invitation.created": ("invitation", "email role expires_at"),
    "invitation.revoked": ("invitation", "email role"),
    "user.created": ("user", "email name"),
    "user.renamed": ("user", "name"),
    "user.email_verified": ("user", "email"),
    "user.signed_in": ("user", "session_id second_factor user_agent"),
    "user.sign_in_failed": ("user", "reason user_agent"),
    "user.signed_out": ("user", "session_id"),
    "user.session_ended": ("user", "session_id"),
    "user.token_reused": ("user", "session_id"),
    "user.password_changed": ("user", "sessions_ended", "password"),
    "user.password_reset": ("user", "sessions_ended", "password"),
    "user.second_factor_set": ("user",),
    "user.second_factor_removed": ("user", "sessions_ended"),
    "user.recovery_codes_renewed": ("user",),
    "user.recovery_code_used": ("user",),
    "user.identity_linked": ("user", "link_id issuer subject email"),
    "user.identity_unlinked": ("user", "link_id issuer subject email"),
    "user.disabled": ("user", "sessions_ended"),
    "user.enabled": ("user",),
    "administrator.granted": ("user", "email role"),
    "administrator.revoked": ("user", "email role"),
    "tier.set": ("tier", "projects members jobs_per_day requests_per_minute storage_bytes"),
    "signing_key.rotated": ("signing_key",),
    "secrets.rekeyed": ("platform", "counts"),
    # the main database
    "job.cancelled": ("job", "reason"),
    "job.answered": ("job", "question", "answer"),
    "job.approved": ("job", "approval budget"),
    "job.retried": ("job", WISH),
    "job.forked": ("job", WISH, "input"),
    "job.moved": ("job", "version"),
    "batch.cancelled": ("batch", "reason"),
    "bulk.created": ("bulk", "action filter matched reason from_step version priority metadata", "input"),
    "bulk.cancelled": ("bulk", "status done failed"),
    "schedule.created": ("schedule", *SCHEDULE),
    "schedule.updated": ("schedule", *SCHEDULE),
    "schedule.deleted": ("schedule", *SCHEDULE),
    "schedule.paused": ("schedule", "name"),
    "schedule.resumed": ("schedule", "name"),
    "schedule.run": ("schedule", "name job_id"),
    "limit.set": ("limit", LIMIT),
    "limit.removed": ("limit", LIMIT),
    "queue.paused": ("queue", "reason"),
    "queue.resumed": ("queue", "reason"),
    "hold.created": ("hold", HOLD),
    "hold.released": ("hold", HOLD),
    "file.uploaded": ("file", "name media_type size sha256"),
    "project.updated": ("project", "name"),
    "project.phase_changed": ("project", "phase"),
    "project.shared": ("project", "with_team_id access"),
    "project.unshared": ("project", "with_team_id access"),
    "specification.revised": ("specification", "project_id current_id fields"),
    "conflict.resolved": ("conflict", "project_id status"),
    "webhook.endpoint.created": ("webhook_endpoint", *ENDPOINT),
    "webhook.endpoint.updated": ("webhook_endpoint", *ENDPOINT),
    "webhook.endpoint.deleted": ("webhook_endpoint", *ENDPOINT),
    "webhook.endpoint.paused": ("webhook_endpoint", "status"),
    "webhook.endpoint.resumed": ("webhook_endpoint", "status"),
    "webhook.endpoint.tested": ("webhook_endpoint", "delivery_id event_type"),
    "webhook.key.created": ("webhook_key", WEBHOOK_KEY),
    "webhook.key.rotated": ("webhook_key", WEBHOOK_KEY),
    "webhook.key.revoked": ("webhook_key", WEBHOOK_KEY),
    "webhook.delivery.resent": ("webhook_delivery", "endpoint_id status"),
    "webhook.replay.created": ("webhook_replay", REPLAY),
    "webhook.replay.cancelled": ("webhook_replay", "status done"),
    "webhook.link.created": ("webhook_link", LINK),
    "webhook.link.revoked": ("webhook_link", LINK),
}
"""Each action: the type of its object, the fields that are shown, and those that are hidden."""


def _action(name: str, object_type: str, shown: str = "", hidden: str = "") -> Action:
    return Action(name=name, object_type=object_type, shown=frozenset(shown.split()), hidden=frozenset(hidden.split()))


ACTIONS: Final[Mapping[str, Action]] = {name: _action(name, *rest) for name, rest in _WRITTEN.items()}
