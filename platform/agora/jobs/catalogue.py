"""The catalogue: what workers registered, cached for the API and the dispatcher, which import no agent."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jsonschema_rs
from sqlalchemy.orm import Session

from agora.agents import QUEUES, Action, ActionSpec, StepSpec
from agora.caching.cache import Cache
from agora.caching.generations import CATALOGUE, changing
from agora.db.session import transaction
from agora.errors import Conflict, FieldError, Invalid, invalid_field
from agora.jobs import catalogue_queries as queries
from agora.jobs import manned
from agora.jobs.models import AgentVersion
from agora.settings import get_settings

LATEST_SECONDS = 30.0
"""How long a process keeps which version of an action is the newest, if no worker registers anything meanwhile."""
VERSION_SECONDS = 3_600.0
MAX_SHOWN_VALUE = 200


class CatalogueConflict(Conflict):
    """Another fleet registered this version of the action with other steps or schemas."""

    slug = "catalogue-conflict"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """An action of the catalogue with its input schema compiled."""

    spec: ActionSpec
    validator: Any

    def check_input(self, value: Any) -> None:
        """Raise Invalid with a pointer, rule and value for each fault of an input."""
        raise_faults(self.validator, value, "/input")


def compile_schema(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """A validator of an agent's JSON Schema.

    It fetches nothing: a ``$ref`` to elsewhere would make this process call whatever address stands there, past the
    egress guard.

    Raises:
        jsonschema_rs.ValidationError: it is no JSON Schema, or refers to one outside of itself.
    """
    return jsonschema_rs.validator_for(dict(schema), offline=True)


def raise_faults(validator: Any, value: Any, root: str) -> None:
    """Raise Invalid with every fault that a compiled JSON Schema finds; pointers start at ``root``."""
    errors = [
        FieldError(
            pointer=root + "".join(f"/{_escaped(part)}" for part in error.instance_path),
            rule=str(error.schema_path[-1]) if error.schema_path else "schema",
            message=error.message[:MAX_SHOWN_VALUE],
            value=_shown(error.instance),
        )
        for error in validator.iter_errors(value)
    ]
    if errors:
        raise Invalid(f"{errors[0].pointer}: {errors[0].message}", errors=errors)


def _escaped(part: Any) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def _shown(value: Any) -> Any:
    text = str(value)
    return value if len(text) <= MAX_SHOWN_VALUE and not isinstance(value, dict | list) else text[:MAX_SHOWN_VALUE]


_latest: Cache[tuple[str, str], int] = Cache("latest-versions", seconds=LATEST_SECONDS)
_versions: Cache[tuple[str, str, int], Registered] = Cache("agent-versions", seconds=VERSION_SECONDS, size=1_000)


def forget() -> None:
    """Empty this process's cache."""
    _latest.clear()
    _versions.clear()
    manned.forget()


def warm_up() -> None:
    """Read and compile the newest version of every action, before the first submit asks for it.

    Raises SQLAlchemyError when Postgres is away.
    """
    with transaction() as session:
        newest = {(row.agent, row.action): row.version for row in queries.list_newest(session)}
    for (agent, action), version in newest.items():
        look_up(agent, action)
        look_up(agent, action, version)


def register(session: Session, actions: Sequence[Action[Any, Any]]) -> None:
    """Register action versions. Raises CatalogueConflict when one is registered with another shape already."""
    for action in actions:
        spec = action.spec
        existing = queries.upsert_version(
            session,
            spec=as_json(spec),
            fingerprint=spec.fingerprint,
            agent=spec.agent,
            action=spec.action,
            version=spec.version,
            description=spec.description,
            agent_description=action.agent.description,
        )
        if existing != spec.fingerprint:
            _replace(session, action)


def _replace(session: Session, action: Action[Any, Any]) -> None:
    """In development an action's shape may change under its version, as long as no open job was made by the old one."""
    spec, why = action.spec, ""
    if get_settings().dev:
        replaced = queries.replace_version(
            session, spec=as_json(spec), fingerprint=spec.fingerprint, agent=spec.agent, action=spec.action,
            version=spec.version, description=spec.description, agent_description=action.agent.description,
        )  # fmt: skip
        if replaced:
            return
        used = queries.count_open_jobs(session, agent=spec.agent, action=spec.action, version=spec.version)
        why = f", and {used} open jobs were made by it; end them, or"
    raise CatalogueConflict(
        f"{spec.agent}.{spec.action} version {spec.version} is registered with other steps or schemas{why or ';'} "
        "give the changed action a new version"
    )


def look_up(agent: str, action: str, version: int | None = None) -> Registered:
    """As :func:`find`, for whoever has no transaction open; mostly without a look at the database."""
    if version is None:

        def newest() -> int:
            with transaction() as session:
                return _find_latest(session, agent, action)

        version = _latest.get((agent, action), (CATALOGUE,), newest)

    def read() -> Registered:
        with transaction() as session:
            return _read(session, agent, action, version)

    return _kept(agent, action, version) or _versions.get((agent, action, version), (CATALOGUE,), read)


def _kept(agent: str, action: str, version: int) -> Registered | None:
    """A version that this process has seen: it never changes, but in development."""
    entry = _versions.peek((agent, action, version))
    if entry is None or get_settings().dev:
        return None
    _versions.count_hit(entry)
    return entry.value


def find(session: Session, agent: str, action: str, version: int | None = None) -> Registered:
    """The action as registered, of this or the newest version. Raises Invalid that names the field."""
    if version is None:
        version = _find_latest(session, agent, action)
    known = _kept(agent, action, version)
    if known is not None:
        return known
    made = _read(session, agent, action, version)
    _versions.put((agent, action, version), made)  # waits for nobody: whoever is read for may need our connection
    return made


def _read(session: Session, agent: str, action: str, version: int) -> Registered:
    row = queries.find_version(session, agent=agent, action=action, version=version)
    if row is None:
        others = ", ".join(str(v) for v in queries.list_version_numbers(session, agent=agent, action=action))
        raise invalid_field(
            "/version", "registered", f"{agent}.{action} has no version {version}, only {others}", version
        )
    return Registered(spec=from_json(row), validator=compile_schema(row.spec["input_schema"]))


def _find_latest(session: Session, agent: str, action: str) -> int:
    versions = queries.list_version_numbers(session, agent=agent, action=action)
    if not versions:
        known = queries.list_actions_of(session, agent=agent)
        if known:
            listed = ", ".join(known)
            raise invalid_field(
                "/action", "registered", f"agent {agent!r} has no action {action!r}, only {listed}", action
            )
        raise invalid_field("/agent", "registered", f"no worker has registered an agent {agent!r}", agent)
    return versions[-1]


def as_json(spec: ActionSpec) -> Mapping[str, Any]:
    """The JSON that the catalogue keeps of an action."""
    return {
        "steps": [asdict(step) for step in spec.steps],
        "input_schema": dict(spec.input_schema),
        "output_schema": dict(spec.output_schema),
        "max_iterations": spec.max_iterations,
    }


def from_json(row: AgentVersion) -> ActionSpec:
    """The action that a catalogue row describes."""
    return ActionSpec(
        agent=row.agent,
        action=row.action,
        version=row.version,
        description=row.description,
        steps=tuple(StepSpec(**step) for step in row.spec["steps"]),
        input_schema=row.spec["input_schema"],
        output_schema=row.spec["output_schema"],
        max_iterations=row.spec["max_iterations"],
    )


def register_worker(
    actions: Sequence[Action[Any, Any]], *, worker_id: str, hostname: str, pid: int, queues: Sequence[str] = QUEUES
) -> None:
    """Enter a starting worker, all that it can run and the queues that it listens to. Raises CatalogueConflict."""
    with changing(CATALOGUE), transaction() as session:
        register(session, actions)
        names = sorted(label_of(action) for action in actions)
        queries.upsert_worker(
            session, worker_id=worker_id, hostname=hostname, pid=pid, actions=names, queues=queues
        )  # fmt: skip


def label_of(action: Action[Any, Any]) -> str:
    """``agent.action@version``: what a worker says it knows."""
    return f"{action.agent.name}.{action.name}@{action.version}"
