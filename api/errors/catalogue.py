"""Every error that a client of the API can meet: code, status, what it means and what to do about it.

``/errors/{code}``, the ``type`` of each problem document (RFC 9457), shows an entry; docs/errors.md is made from it.
Other errors of the domain are faults of ours over HTTP: ``internal-error``.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorType:
    """An entry. ``retry``: the same request may succeed later, as it is."""

    code: str
    status: int
    title: str
    meaning: str
    remedy: str
    retry: bool = False


INTERNAL = "internal-error"
BAD_REQUEST = "bad-request"

_ENTRIES = (
    ErrorType(
        code=BAD_REQUEST, status=400, title="Bad request",
        meaning="The request cannot be read: its body is no JSON, or its HTTP is broken.",
        remedy="Send what the operation describes. `detail` says where the body stops being JSON.",
    ),
    ErrorType(
        code="unauthenticated", status=401, title="Valid credentials are required",
        meaning="There are no credentials in the request, or they are unknown, expired, revoked or signed out.",
        remedy="Send `Authorization: Bearer <API key or access token>`; refresh an access token that has run out.",
    ),
    ErrorType(
        code="second-factor-needed", status=401, title="A code of the second factor is needed",
        meaning="Address and password are right, and the account has a second factor.",
        remedy="Sign in again with `code`: the six digits of now, or a recovery code.",
    ),
    ErrorType(
        code="forbidden", status=403, title="These credentials do not allow this",
        meaning="The key lacks the scope, or the user's role in the team the permission, which `needed` names.",
        remedy="Use a key with that scope, or ask an owner of the team for another role.",
    ),
    ErrorType(
        code="second-factor-required", status=403, title="This needs a session with a second factor",
        meaning="The user may do this, but not in a session that was begun with a password only.",
        remedy="Set a second factor up, `POST /api/v1/me/second-factor`, and sign in with it.",
    ),
    ErrorType(
        code="quota-exceeded", status=403, title="The team has as much as its tier allows",
        meaning="`quota` names what there is no room for: `projects`, `members` or `storage_bytes`; `limit` and `used` "
        "say how much there is.",
        remedy="Make room, or ask the operator for another tier: `GET /api/v1/quotas`.",
    ),
    ErrorType(
        code="email-unverified", status=403, title="The e-mail address is not confirmed yet",
        meaning="Address and password are right, but nobody has shown that mail to the address reaches its owner.",
        remedy="Use the token of the mail, or have it sent again: `POST /api/v1/auth/verify-email/again`.",
    ),
    ErrorType(
        code="not-found", status=404, title="There is no such thing",
        meaning="Nothing is there under this path or id for this team. What is another team's is not there either.",
        remedy="Look at the id and at the key: it decides the team. Ended jobs are removed after their retention.",
    ),
    ErrorType(
        code="method-not-allowed", status=405, title="Method not allowed",
        meaning="The path exists, but not with this method.",
        remedy="The header `Allow` lists the methods that there are.",
    ),
    ErrorType(
        code="request-timeout", status=408, title="The request came too slowly",
        meaning="The body stopped coming, or came at less than the least rate. The connection is closed.",
        remedy="Send it again, over another connection.", retry=True,
    ),
    ErrorType(
        code="conflict", status=409, title="The request conflicts with the present state",
        meaning="Something stands in the way, such as a name that is taken or another change at the same time.",
        remedy="Read the object again, and decide anew. `errors` names the field where it is one field's fault.",
    ),
    ErrorType(
        code="illegal-transition", status=409, title="The object is in a state that does not allow this",
        meaning="A job that has ended cannot be cancelled, a disabled endpoint not tested. `state` is the present one.",
        remedy="Read the object again. If it is in the state that you wanted, nothing is left to do.",
    ),
    ErrorType(
        code="concurrency-limit", status=409, title="The concurrency key has no room for this job",
        meaning="As many jobs with this key are open as its limit allows, and the policy of the submit is `reject`.",
        remedy="Submit later, or with the policy `queue` or `cancel_running`.", retry=True,
    ),
    ErrorType(
        code="already-answered", status=409, title="The question has been answered already",
        meaning="A job's question takes one answer, the first; this one came later and is another.",
        remedy="Nothing: the job went on with the first. The same answer again is no error.",
    ),
    ErrorType(
        code="version-retired", status=410, title="This version of the API is retired",
        meaning="The request speaks a version whose sunset has passed, by its header or by what the key is pinned to.",
        remedy="Change what `/versions` lists, send `Agora-Version` with `newest`, or pin the key anew with it.",
    ),
    ErrorType(
        code="precondition-failed", status=412, title="The object is not what the request expects it to be",
        meaning="`If-Match` names another state than the present one: somebody changed the object since it was read.",
        remedy="Read the object again, make the edit anew on what it is now, and send it with the new `ETag`.",
    ),
    ErrorType(
        code="too-large", status=413, title="The value is too large",
        meaning="The body, or a value in it, has more bytes than may be; `detail` tells how many that are.",
        remedy="Upload what is large as a file, and name the file in the input.",
    ),
    ErrorType(
        code="unsupported-media-type", status=415, title="Unsupported media type",
        meaning="The body has a `Content-Type` that this operation does not take.",
        remedy="Send JSON as `application/json`, UTF-8.",
    ),
    ErrorType(
        code="invalid", status=422, title="The request is not valid",
        meaning="A field is missing, unknown, of the wrong type, or breaks a rule. `errors` lists each of them.",
        remedy="Correct these fields. Nothing was done: not a part of the request has had an effect.",
    ),
    ErrorType(
        code="idempotency-key-reused", status=422, title="The idempotency key was used with another request",
        meaning="Within 24 hours this `Idempotency-Key` came with another body on the same route.",
        remedy="Take a new key for a new request, and the same body for a repeat.",
    ),
    ErrorType(
        code="too-many-requests", status=429, title="Too many at once",
        meaning="The caller holds as many streams and waiting calls as they may, or sign-in failed too often.",
        remedy="Come back after `Retry-After` seconds; close streams that nobody reads.", retry=True,
    ),
    ErrorType(
        code="rate-limited", status=429, title="Too many requests",
        meaning="The key, user, team or address has sent more requests than it may; `violated-policies` names which.",
        remedy="Come back after `Retry-After` seconds. `RateLimit` says in every answer how many are left.", retry=True,
    ),
    ErrorType(
        code="daily-quota-exceeded", status=429, title="The team has made as many jobs today as its tier allows",
        meaning="Submits, batches, retries and schedules count; repeats, and children of jobs, do not. `limit` says "
        "how many a day.",
        remedy="Come back at `resets_at`, or ask the operator for another tier: `GET /api/v1/quotas`.", retry=True,
    ),
    ErrorType(
        code=INTERNAL, status=500, title="Something went wrong",
        meaning="A fault of the server. It is logged whole under the request's id, and not shown.",
        remedy="Tell whoever runs the server the `request_id`. Repeat creates only with the same `Idempotency-Key`.",
        retry=True,
    ),
    ErrorType(
        code="unavailable", status=503, title="A service that is needed is not available",
        meaning="A database is away, or the process holds as many open requests as it can.",
        remedy="Come back after `Retry-After` seconds. Repeat creates with the same `Idempotency-Key`.", retry=True,
    ),
)  # fmt: skip

CATALOGUE = {one.code: one for one in _ENTRIES}
BY_STATUS = {one.status: one for one in reversed(_ENTRIES)}
"""What stands for an error of the HTTP layer, which knows a status only: the first entry with it."""

NOT_OVER_HTTP = frozenset(
    {
        "error", "settings", "catalogue-conflict", "data-dir-held", "dump-failed", "egress-refused",
        "webhook-verification", "domain-invalid", "document", "document-empty", "document-binary",
        "document-encrypted", "document-too-long", "document-language", "document-corrupt",
    }
)  # fmt: skip
"""Slugs of domain errors that commands, workers and steps of jobs meet, and no request."""
