"""Loads domains: folders of JSON, checked against the schemas beside this file.

A domain takes every part that it does not bring itself from the domains that it extends. A bad file is an error that
names the file, the place in it and the reason; it never stops the other domains from loading.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import jsonschema_rs

from agora.errors import AgoraError
from agora.language.lexicon import (
    Aspect,
    BiasPhrase,
    Category,
    Cue,
    Lexicon,
    Measure,
    Technology,
    TechnologyGroup,
    Term,
    Unit,
)

HERE = Path(__file__).parent
SCHEMAS = HERE / "schema"
PARTS = ("lexicon", "cues", "technologies", "units", "bias")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
MAX_FILE_BYTES = 4 * 1024 * 1024


class DomainError(AgoraError):
    """A knowledge domain is not valid."""

    slug: ClassVar[str] = "domain-invalid"

    def __init__(self, file: str, path: str, reason: str) -> None:
        super().__init__(f"{file}{f' at {path}' if path else ''}: {reason}", file=file, path=path, reason=reason)
        self.file, self.path, self.reason = file, path, reason


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A loaded domain. ``targets`` maps category to target, in order."""

    id: str
    name: str
    version: str
    extends: tuple[str, ...]
    lexicon: Lexicon

    @property
    def targets(self) -> dict[str, float]:
        """Category name to how much a project should hold of it."""
        return self.lexicon.targets


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The domains that are good, by id, and what is wrong with the others."""

    domains: Mapping[str, Domain]
    errors: tuple[DomainError, ...]


def load_domain(name: str, root: Path = HERE) -> Domain:
    """The domain in the folder ``name`` of ``root``. Raises DomainError naming file, path and reason."""
    parts = _collect(name, root, ())
    head = parts["domain"]
    for part in ("categories", *PARTS):
        if part not in parts:
            raise DomainError(f"{name}/domain.json", "/extends", f"neither it nor a domain that it extends has {part}")
    lexicon = _lexicon(name, parts)
    return Domain(
        id=head["id"],
        name=head["name"],
        version=head["version"],
        extends=tuple(head.get("extends", ())),
        lexicon=lexicon,
    )


def load_domains(root: Path = HERE) -> Loaded:
    """Every folder of ``root`` that has a domain.json: the good ones loaded, the bad ones as errors."""
    domains: dict[str, Domain] = {}
    errors: list[DomainError] = []
    for folder in sorted(path.parent for path in root.glob("*/domain.json")):
        try:
            domains[folder.name] = load_domain(folder.name, root)
        except DomainError as error:
            errors.append(error)
    return Loaded(domains=domains, errors=tuple(errors))


def _collect(name: str, root: Path, seen: tuple[str, ...]) -> dict[str, Any]:
    """The parts of a domain, those of its parents below its own."""
    if not NAME.fullmatch(name):
        raise DomainError(repr(name), "", "a domain is named by small letters, digits and _; it is no path")
    if name in seen:
        raise DomainError(f"{name}/domain.json", "/extends", f"the domains form a circle: {' -> '.join((*seen, name))}")
    head = _read(root / name / "domain.json", "domain")
    if head["id"] != name:
        raise DomainError(f"{name}/domain.json", "/id", f"the id {head['id']!r} must be the folder's name, {name!r}")
    parts: dict[str, Any] = {}
    for position, parent in enumerate(head.get("extends", ())):
        if not (root / parent / "domain.json").is_file():
            reason = f"there is no domain named {parent!r}"
            raise DomainError(f"{name}/domain.json", f"/extends/{position}", reason)
        parts.update(_collect(parent, root, (*seen, name)))
    parts["domain"] = head
    if "categories" in head:
        parts["categories"] = head["categories"]
    for part in PARTS:
        if (root / name / f"{part}.json").is_file():
            parts[part] = _read(root / name / f"{part}.json", part)
    return parts


def _read(path: Path, schema: str) -> Any:
    label = f"{path.parent.name}/{path.name}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DomainError(label, "", f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise DomainError(label, "", f"has {len(data)} bytes, more than {MAX_FILE_BYTES}")
    try:
        value = json.loads(data)
    except ValueError as error:
        raise DomainError(label, "", f"is not JSON: {error}") from error
    problem = next(iter(_validator(schema).iter_errors(value)), None)
    if problem is not None:
        path_in_file = "".join(f"/{part}" for part in problem.instance_path)
        raise DomainError(label, path_in_file, problem.message)
    return value


@cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    written = json.loads((SCHEMAS / f"{schema}.schema.json").read_bytes())
    return jsonschema_rs.Draft202012Validator(written, offline=True)


def _lexicon(name: str, parts: Mapping[str, Any]) -> Lexicon:
    units = parts["units"]
    return Lexicon(
        categories=_categories(name, parts["categories"], parts["lexicon"]["categories"]),
        units=tuple(
            Unit(symbol=unit["symbol"], dimension=unit["dimension"], factor=unit["factor"], words=tuple(unit["words"]))
            for unit in units["units"]
        ),
        groups=tuple(_group(group) for group in parts["technologies"]["groups"]),
        cues=tuple(
            Cue(name=cue["name"], level=cue["level"], weight=cue["weight"], phrases=tuple(cue["phrases"]))
            for cue in parts["cues"]["cues"]
        ),
        technology_category=parts["technologies"]["category"],
        technology_weight=parts["technologies"]["weight"],
        bias=tuple(
            BiasPhrase(phrase=phrase, kind=entry["kind"], weight=entry["weight"])
            for entry in parts["bias"]["bias"]
            for phrase in entry["phrases"]
        ),
        words={key: tuple(value) for key, value in parts["cues"]["words"].items()},
        comparators={key: tuple(value) for key, value in units["comparators"].items()},
        numbers=units["numbers"],
    )


def _categories(name: str, listed: Sequence[Mapping[str, Any]], known: Mapping[str, Any]) -> tuple[Category, ...]:
    names = [entry["name"] for entry in listed]
    for position, category in enumerate(names):
        if names.index(category) != position:
            raise DomainError(f"{name}/domain.json", f"/categories/{position}/name", f"{category!r} is listed twice")
        if category not in known:
            reason = f"{category!r} has no entry in lexicon.json"
            raise DomainError(f"{name}/domain.json", f"/categories/{position}/name", reason)
    for category in known:
        if category not in names:
            raise DomainError(f"{name}/lexicon.json", f"/categories/{category}", "is not a category of domain.json")
    return tuple(_category(entry, known[entry["name"]]) for entry in listed)


def _category(entry: Mapping[str, Any], known: Mapping[str, Any]) -> Category:
    return Category(
        name=entry["name"],
        title=entry["title"],
        target=entry["target"],
        terms=_terms(known["terms"]),
        headings=_terms(known.get("headings", {})),
        aspects=tuple(
            Aspect(
                key=aspect["key"],
                terms=tuple(aspect["terms"]),
                dimensions=tuple(aspect.get("dimensions", ())),
                single=aspect.get("single", False),
            )
            for aspect in known.get("aspects", ())
        ),
        measures=tuple(_measure(measure) for measure in known.get("measures", ())),
        prior=float(known.get("prior", 0.0)),
    )


def _measure(measure: Mapping[str, Any]) -> Measure:
    return Measure(
        dimension=measure["dimension"],
        weight=measure["weight"],
        low=measure.get("from", float("-inf")),
        high=measure.get("below", float("inf")),
        upper=measure.get("upper", False),
        words=measure.get("words", ""),
    )


def _terms(weighted: Mapping[str, Sequence[str]]) -> tuple[Term, ...]:
    return tuple(
        Term(pattern=pattern, weight=float(weight)) for weight, patterns in weighted.items() for pattern in patterns
    )


def _group(group: Mapping[str, Any]) -> TechnologyGroup:
    return TechnologyGroup(
        name=group["name"],
        nouns=tuple(group["nouns"]),
        strict=group["strict"],
        exclusive=group["exclusive"],
        members=tuple(Technology(name=name, words=tuple(words)) for name, words in group["members"].items()),
    )
