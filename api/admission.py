"""The gate of every request: who calls, whether they may call so often, and whether what is remembered is still so.

One round trip to Redis answers both for a caller whom this process remembers. Whoever was never right in this process
counts for their address, before their credentials are looked at, and gets that back when these are right. Not so what
shows by itself that it was issued here, by a MAC or a signature. So guessing is bounded, and keeps out nobody who is
known, or who holds such a thing.
"""

from collections.abc import Sequence

from flask import Flask, Response, g, request

from agora.caching import generations
from agora.caching.generations import CATALOGUE, TIERS, team_tag
from agora.errors import NotFound, Unauthenticated
from agora.identity.principals import Credential, Kept, Principal
from agora.identity.throttle import network_of
from agora.quotas import gate, tiers
from agora.quotas.bucket import MICRO, Bucket, State
from agora.quotas.types import Quotas
from agora.settings import get_settings
from api.address import client_address

TOO_MANY = 429
EXEMPT = frozenset({"health.live", "health.ready", "health.metrics"})
"""What watches the platform is never refused, and needs no Redis."""


def begin() -> None:
    """A request comes."""
    g.rate_states = ()
    generations.begin()


def admit_stranger() -> None:
    """Count a request without valid credentials for its address. Raises RateLimited."""
    if request.endpoint not in EXEMPT:
        _pass([_of_address()])


def admit_holder(policy: str, name: str) -> None:
    """Count a request with what was issued here for whoever holds that, and not for their address.

    They may as much as an address: what they hold may be void by now, and is looked up each time. Raises RateLimited.
    """
    limit = get_settings().address_requests_per_minute
    _pass([Bucket(policy=policy, name=f"{policy}:{name}", quota=limit)])


def admit(credential: Credential) -> Principal:
    """The caller, if the credentials are valid and they have not called too often.

    Raises:
        Unauthenticated, NotFound: as reading the credential does.
        RateLimited: the caller, their team or their address has no room.
    """
    kept = credential.kept()
    known = _admit_known(kept) if kept is not None else None
    if known is not None:
        return known
    is_new = not credential.is_known()
    if is_new:
        _pass([_of_address()])
    try:
        principal = credential.read()
        quotas = tiers.of(principal.team_id)
    except (Unauthenticated, NotFound):
        if not is_new:
            _pass([_of_address()])
        raise
    except Exception:  # nobody can say whether they are right: that is not the caller's fault
        if is_new:
            _pass([_of_address(cost=-1)])
        raise
    back = [_of_address(cost=-1)] if is_new else []
    _pass([*_buckets_of(principal, quotas), *back], (*_tags_of(principal), CATALOGUE))
    return principal


def _admit_known(kept: Kept) -> Principal | None:
    """The caller as this process remembers them; None when that is no longer so, or nobody knows."""
    quotas = tiers.cache.peek(kept.principal.team_id)
    stamp = _joined(kept.stamp, quotas.stamp) if quotas is not None and quotas.stamp is not None else None
    if quotas is None or stamp is None:
        return None
    tags = (*kept.tags, TIERS)
    answer = gate.pass_through(
        _buckets_of(kept.principal, quotas.value), (*tags, CATALOGUE), stamp=stamp, stamped=len(tags)
    )
    if not answer.fresh:
        return None
    kept.hit()
    tiers.cache.count_hit(quotas)
    _note(answer.states)
    answer.check()
    return kept.principal


def _joined(of_caller: str, of_quotas: str) -> str | None:
    """The stamp of all that both depend on; None when they are not of one time. Both begin with epoch and team."""
    epoch, team, tier = of_quotas.split("|")
    return f"{of_caller}|{tier}" if of_caller.split("|")[:2] == [epoch, team] else None


def _tags_of(principal: Principal) -> tuple[str, ...]:
    return team_tag(principal.team_id), TIERS


def _buckets_of(principal: Principal, quotas: Quotas) -> list[Bucket]:
    """What a caller counts for. A team without a limit has no bucket, and nobody in it but keys with one of their own.

    A user has one bucket for all their teams, as large as that of the team of the request.
    """
    found = []
    of_team = quotas.requests_per_minute
    if principal.user_id is not None and of_team is not None:
        found.append(Bucket(policy="user", name=f"user:{principal.user_id}", quota=of_team))
    if principal.requests_per_minute is not None:
        found.append(Bucket(policy="key", name=f"key:{principal.actor_id}", quota=principal.requests_per_minute))
    if of_team is not None:
        found.append(Bucket(policy="team", name=f"team:{principal.team_id}", quota=of_team))
    return found


def _of_address(cost: int = 1) -> Bucket:
    limit = get_settings().address_requests_per_minute
    return Bucket(policy="address", name=f"address:{network_of(client_address())}", quota=limit, cost=cost)


def _pass(buckets: list[Bucket], tags: tuple[str, ...] = ()) -> None:
    answer = gate.pass_through(buckets, tags)
    _note([state for state in answer.states if state.bucket.cost > 0])
    answer.check()


def _note(states: Sequence[State]) -> None:
    g.rate_states = states


def show_limits(response: Response) -> Response:
    """Say what the limits are and what is left (draft-ietf-httpapi-ratelimit-headers-09)."""
    states: Sequence[State] = g.get("rate_states", ())
    if states:
        response.headers["RateLimit-Policy"] = ", ".join(
            f'"{one.bucket.policy}";q={one.bucket.quota};w={one.bucket.window}' for one in states
        )
        response.headers["RateLimit"] = ", ".join(
            f'"{one.bucket.policy}";r={one.remaining};t={-(-one.full_in // MICRO)}' for one in states
        )
    if response.status_code == TOO_MANY and any(one.wait for one in states):
        response.headers["Retry-After"] = str(gate.seconds_until_room(states))  # also where it is told as a page
    return response


def forget(_error: BaseException | None) -> None:
    """The request is over."""
    generations.end()


def install(app: Flask) -> None:
    """Apply to every request; before authentication."""
    app.before_request(begin)
    app.after_request(show_limits)
    app.teardown_request(forget)
