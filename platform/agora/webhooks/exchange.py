"""Endpoints in bulk: exported without their secrets, imported all or none, found again by their uids."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.db.session import transaction
from agora.errors import Conflict, FieldError, Invalid, invalid_field
from agora.ids import is_id, new_id
from agora.paging import Page
from agora.webhooks import exchange_queries, keys, shapes, vault
from agora.webhooks.models import EndpointRow
from agora.webhooks.operation_types import CREATED, UNCHANGED, UPDATED, ExportedEndpoint, ImportedEndpoint
from agora.webhooks.redaction import SENSITIVE
from agora.webhooks.states import EndpointState
from agora.webhooks.types import REDACTED, NewEndpoint

MOST = 1_000
"""Endpoints of one import, or of one page of an export."""
ERRORS_SHOWN = 100
AS_PAUSED = "imported as paused"
NOT_SET = frozenset({"id", "status", "algorithm"})
"""Of an item: what an existing endpoint keeps as it is."""


def export_endpoints(*, team_id: str, limit: int = MOST, cursor: str | None = None) -> Page[ExportedEndpoint]:
    """A page of the team's endpoints, oldest first, in the form that an import takes. Raises Invalid."""
    if cursor is not None and not is_id(cursor, "whe"):
        raise invalid_field("/cursor", "cursor", "cursor must come from next_cursor of an export", cursor)
    with transaction() as session:
        rows = exchange_queries.list_oldest(session, team_id=team_id, after=cursor or "", limit=limit + 1)
        shown = rows[:limit]
        signing = exchange_queries.newest_algorithms(session, team_id=team_id, endpoint_ids=[row.id for row in shown])
    items = [_exported(row, signing.get(row.id)) for row in shown]
    return Page(items=items, next_cursor=items[-1].id if len(rows) > limit else None)


def _exported(row: EndpointRow, algorithm: str | None) -> ExportedEndpoint:
    headers = vault.unseal_headers(row.headers)
    return ExportedEndpoint(
        id=row.id, uid=row.uid, url=row.url, description=row.description, event_types=row.event_types,
        agents=row.agents, projects=row.projects, metadata_filter=row.metadata_filter,
        headers={name: REDACTED if SENSITIVE.search(name) else value for name, value in headers.items()},
        algorithm=algorithm, schedule=row.schedule, max_in_flight=row.max_in_flight, rate_limit=row.rate_limit,
        fifo=row.fifo, payload=row.payload, metadata=row.meta, status=row.status,
    )  # fmt: skip


def import_endpoints(
    items: Sequence[Mapping[str, Any]], *, team_id: str, dry_run: bool = False
) -> list[ImportedEndpoint]:  # fmt: skip
    """Create or update up to 1,000 endpoints, all or none; with ``dry_run`` only say what would become of each.

    An item has the fields of NewEndpoint but for the secret; ``id`` and ``status`` of an export may stay. It updates
    the endpoint with its ``uid``, or, without a uid, the one with its ``id``; where there is none, it makes one with a
    fresh secret, paused if its status is not active. What an item does not name stays as it is, and so does a header
    whose value is redacted.

    Raises:
        Invalid: names each field that is wrong, as ``/endpoints/3/url``.
        Conflict: somebody took a uid just now.
    """
    if not 1 <= len(items) <= MOST:
        raise invalid_field("/endpoints", "length", f"endpoints must be 1 to {MOST}, not {len(items)}")
    try:
        with transaction() as session:
            known = _lock_known(session, items, team_id=team_id)
            fields = _check_all(items, known)
            return _put(session, items, fields, known, team_id=team_id, dry_run=dry_run)
    except IntegrityError as error:
        if "webhook_endpoints_uid_idx" in str(error.orig):
            raise Conflict("a uid of the import was taken by another endpoint just now; import again") from None
        raise


def _lock_known(session: Session, items: Sequence[Mapping[str, Any]], *, team_id: str) -> list[EndpointRow | None]:
    """The endpoint that each item means, locked; None for a new one."""
    uids = {item["uid"] for item in items if isinstance(item.get("uid"), str)}
    ids = {item["id"] for item in items if item.get("uid") is None and isinstance(item.get("id"), str)}
    rows = exchange_queries.lock_known(session, team_id=team_id, uids=uids, ids=ids)
    by_uid = {row.uid: row for row in rows if row.uid is not None}
    by_id = {row.id: row for row in rows}
    return [
        by_uid.get(item["uid"]) if isinstance(item.get("uid"), str) else by_id.get(str(item.get("id")))
        for item in items
    ]


def _check_all(items: Sequence[Mapping[str, Any]], known: Sequence[EndpointRow | None]) -> list[dict[str, Any]]:
    """The columns of each item. Raises Invalid for all of them at once."""
    fields: list[dict[str, Any]] = []
    errors: list[FieldError] = []
    named: dict[str, int] = {}
    for number, (item, row) in enumerate(zip(items, known, strict=True)):
        try:
            fields.append(_check_one(item, row))
            _check_once(item, row, number, named)
        except Invalid as error:
            errors += [_placed(one, number) for one in error.errors]
    if errors:
        raise Invalid(f"{errors[0].pointer}: {errors[0].message}", errors=errors[:ERRORS_SHOWN])
    return fields


def _check_one(item: Mapping[str, Any], row: EndpointRow | None) -> dict[str, Any]:
    given = {name: value for name, value in item.items() if name not in NOT_SET}
    if item.get("status", EndpointState.ACTIVE) not in set(EndpointState):
        raise invalid_field("/status", "enum", f"status must be one of {', '.join(EndpointState)}", item["status"])
    if row is None:
        if "url" not in given:
            raise invalid_field("/url", "required", "url is needed for a new endpoint")
        keys.new_key(None, item.get("algorithm"))
        given = {name: value for name, value in asdict(NewEndpoint(url="")).items() if name != "secret"} | given
    given.pop("algorithm", None)
    if given.get("uid", "") is None:
        del given["uid"]  # which was not how it was found, so it says nothing
    if isinstance(given.get("headers"), Mapping):
        given["headers"] = _with_kept(given["headers"], row)
    return shapes.check_fields(given)


def _with_kept(headers: Mapping[str, Any], row: EndpointRow | None) -> dict[str, Any]:
    """Headers in which redacted values are those that the endpoint has. Raises Invalid where it has none."""
    known = vault.unseal_headers(row.headers) if row is not None else {}
    kept = {name.lower(): value for name, value in known.items()}
    for name, value in headers.items():
        if value == REDACTED and str(name).lower() not in kept:
            message = f"headers: the value of {name} is redacted; give it"
            raise invalid_field(f"/headers/{name}", "redacted", message)
    return {name: kept[name.lower()] if value == REDACTED else value for name, value in headers.items()}


def _check_once(item: Mapping[str, Any], row: EndpointRow | None, number: int, named: dict[str, int]) -> None:
    """Raises Invalid when an item before this one means the same endpoint."""
    means = item.get("uid") or (row.id if row is not None else None)
    if means is None:
        return
    first = named.setdefault(means, number)
    if first != number:
        name = "uid" if item.get("uid") else "id"
        raise invalid_field(f"/{name}", "unique", f"{name}: /endpoints/{first} is the same endpoint", means)


def _placed(error: FieldError, number: int) -> FieldError:
    return FieldError(
        pointer=f"/endpoints/{number}{error.pointer}", rule=error.rule, message=error.message, value=error.value
    )


def _put(
    session: Session,
    items: Sequence[Mapping[str, Any]],
    fields: Sequence[dict[str, Any]],
    known: Sequence[EndpointRow | None],
    *,
    team_id: str,
    dry_run: bool,
) -> list[ImportedEndpoint]:
    done: list[ImportedEndpoint] = []
    rows: list[dict[str, Any]] = []
    signing: list[dict[str, Any]] = []
    news: dict[str, audit.Change] = {}
    for item, given, row in zip(items, fields, known, strict=True):
        if row is not None:
            done.append(_update(session, row, given, team_id=team_id, dry_run=dry_run))
        elif dry_run:
            done.append(ImportedEndpoint(action=CREATED, uid=given.get("uid"), id=None))
        else:
            made, key, told = _new(item, given)
            rows.append(made)
            news[made["id"]] = {}, given
            signing.append(key)
            done.append(told)
    if rows:
        exchange_queries.insert_endpoints(session, team_id=team_id, rows=rows, keys=signing)
        audit.record_all(session, "webhook.endpoint.created", news, team_id=team_id)
    return done


def _new(item: Mapping[str, Any], given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], ImportedEndpoint]:
    """A new endpoint's row, that of its key, and what is told of it."""
    endpoint_id, key = new_id("whe"), keys.new_key(None, item.get("algorithm"))
    active = item.get("status", EndpointState.ACTIVE) == EndpointState.ACTIVE
    row = {
        **_columns(given), "id": endpoint_id, "kind": "endpoint", "uid": given.get("uid"),
        "status": EndpointState.ACTIVE if active else EndpointState.PAUSED,
        "status_reason": None if active else AS_PAUSED,
    }  # fmt: skip
    signs = {
        "id": new_id("whk"), "endpoint_id": endpoint_id, "algorithm": key.algorithm, "sealed": vault.seal(key.text),
        "public_key": key.public,
    }  # fmt: skip
    told = ImportedEndpoint(action=CREATED, uid=given.get("uid"), id=endpoint_id, secret=key.text)
    return row, signs, told


def _update(
    session: Session, row: EndpointRow, given: dict[str, Any], *, team_id: str, dry_run: bool
) -> ImportedEndpoint:  # fmt: skip
    before = {name: getattr(row, "meta" if name == "metadata" else name) for name in given}
    if "headers" in before:
        before["headers"] = vault.unseal_headers(row.headers)
    changed = {name: value for name, value in given.items() if value != before[name]}
    if changed and not dry_run:
        exchange_queries.update_endpoint(session, team_id=team_id, row=row, values=_columns(changed))
        told = {name: before[name] for name in changed}
        audit.record(session, "webhook.endpoint.updated", row.id, team_id=team_id, before=told, after=changed)
    return ImportedEndpoint(action=UPDATED if changed else UNCHANGED, uid=row.uid, id=row.id)


def _columns(checked: Mapping[str, Any]) -> dict[str, Any]:
    columns = dict(checked)
    if "headers" in columns:
        columns["headers"] = vault.seal_headers(columns["headers"])
    if "metadata" in columns:
        columns["meta"] = columns.pop("metadata")
    return columns
