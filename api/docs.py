"""The docs page: made on the server from the app's own OpenAPI document; no script, no foreign asset."""

import json
from typing import Any

from flask import Blueprint, Response, current_app

from agora.api_versions import NEWEST
from api import pages
from api.auth import TEAM_HEADER
from api.openapi import VERSION

blueprint = Blueprint("docs", __name__, template_folder="templates")
OF_ALL = frozenset({VERSION, TEAM_HEADER})
METHODS = ("get", "post", "put", "patch", "delete")


@blueprint.get("/docs")
def page() -> Response:
    """Every operation with its parameters, shapes and answers."""
    spec = current_app.extensions["agora-api"].spec.to_dict()
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, item in spec["paths"].items():
        for method in METHODS:
            if method in item:
                operation = item[method] | {"method": method.upper(), "path": path}
                operation["parameters"] = _parameters(item, operation, spec["components"]["parameters"])
                groups.setdefault(operation.get("tags", ["other"])[0], []).append(operation)
    schemas = {
        name: json.dumps(schema, indent=2) for name, schema in spec.get("components", {}).get("schemas", {}).items()
    }
    tags = {tag["name"]: tag.get("description", "") for tag in spec.get("tags", [])}
    return pages.page("docs.html", spec=spec, newest=NEWEST, groups=groups, schemas=schemas, tags=tags, ref_of=ref_of)


def _parameters(item: dict[str, Any], operation: dict[str, Any], shared: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of an operation; not those of every one, which are told at the top."""
    every = item.get("parameters", []) + operation.get("parameters", [])
    named = [(one["$ref"].rsplit("/", 1)[-1], one) if "$ref" in one else ("", one) for one in every]
    return [shared.get(name, one) for name, one in named if name not in OF_ALL]


def ref_of(content: dict[str, Any] | None) -> str | None:
    """The name of the schema that a body or an answer refers to, if it refers to one."""
    for media in (content or {}).values():
        ref = media.get("schema", {}).get("$ref", "")
        if ref:
            return str(ref).rsplit("/", 1)[-1]
    return None
