"""Full payloads: the job's input and output beside ids, status and links, as long as they fit.

A fan-out writes the thin body; what is large is read once, by the sender, before the first try. From then on the same
bytes are sent at each try. What does not fit is left out, largest first, and named in ``truncated``; the link leads to
it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agora.db.session import transaction
from agora.webhooks import full_queries
from agora.webhooks.settling import Leased

MAX_BYTES = 20_000
VALUES = ("input", "output")


def complete(claimed: Sequence[Leased]) -> list[Leased]:
    """The claimed deliveries, with full bodies where these are asked for; whose lease is lost meanwhile is left out."""
    waiting = [one for one in claimed if one.full_payload]
    bodies: dict[str, str] = {}
    for team_id in {one.team_id for one in waiting}:
        bodies |= _completed([one for one in waiting if one.team_id == team_id], team_id)
    ready = []
    for one in claimed:
        if not one.full_payload:
            ready.append(one)
        elif one.id in bodies:
            ready.append(replace(one, body=bodies[one.id], full_payload=False))
    return ready


def _completed(waiting: Sequence[Leased], team_id: str) -> dict[str, str]:
    with transaction() as session:
        job_ids = list({one.job_id for one in waiting if one.job_id is not None})
        values = full_queries.list_values(session, team_id=team_id, job_ids=job_ids)
        bodies = {one.id: full_body(one.body, values.get(one.job_id or "", {})) for one in waiting}
        rows = [{"id": one.id, "token": one.token, "body": bodies[one.id]} for one in waiting]
        kept = full_queries.complete_bodies(session, team_id=team_id, rows=rows)
    return {id_: body for id_, body in bodies.items() if id_ in kept}


def full_body(thin: str, values: Mapping[str, Any]) -> str:
    """The full body for a thin one; a job that is gone by now adds nothing."""
    payload = json.loads(thin)
    found = {name: values[name] for name in VALUES if values.get(name) is not None}
    # A reference to the file store is of a value that was too large even for a row.
    truncated = [name for name, stored in found.items() if "v" not in stored]
    data = payload["data"] | {name: stored["v"] for name, stored in found.items() if "v" in stored}
    while len(body := _body(payload, data, truncated)) > MAX_BYTES:
        present = [name for name in VALUES if name in data]
        if not present:
            break  # the thin body alone; it is bounded where it is made
        largest = max(present, key=lambda name: len(json.dumps(data[name])))
        del data[largest]
        truncated.append(largest)
    return body


def _body(payload: Mapping[str, Any], data: Mapping[str, Any], truncated: Sequence[str]) -> str:
    said = {**data, "truncated": [*data.get("truncated", ()), *truncated]} if truncated else data
    return json.dumps({**payload, "data": said}, separators=(",", ":"))
