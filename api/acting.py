"""Who makes a request and where it comes from, as the audit log notes it: asked only when something is recorded."""

from flask import Flask, g

from agora.audit import acting
from agora.audit.acting import Actor, ActorKind
from api.address import client_address


def whoever_calls() -> Actor:
    """The caller of this request: a key, a user, the holder of a portal link, or nobody known."""
    where = {"address": client_address(), "request_id": g.get("request_id")}
    principal, visitor = g.get("principal"), g.get("portal")
    if principal is not None:
        kind = ActorKind.KEY if principal.user_id is None else ActorKind.USER
        return Actor(kind=kind, id=principal.actor_id, name=principal.name, team_id=principal.team_id, **where)
    if visitor is not None:
        link = visitor.link
        return Actor(kind=ActorKind.LINK, id=link.id, name=link.label, team_id=link.team_id, **where)
    return Actor(kind=ActorKind.ANONYMOUS, **where)


def install(app: Flask) -> None:
    """Let whoever makes a request be its actor, for as long as it lasts."""
    app.before_request(lambda: acting.bind(whoever_calls))
    app.teardown_request(lambda _: acting.bind(None))
