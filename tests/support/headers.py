"""Which headers answers carry, held against what the OpenAPI document of their version says of them."""

from collections import defaultdict

from flask import request, request_finished

from agora.api_versions import NEWEST, VERSIONS
from api.openapi_document import METHODS
from api.openapi_headers import ALWAYS, DEPRECATING
from api.openapi_versions import document_of

GENERAL = {
    "Content-Type", "Content-Length", "Cache-Control", "Vary",  # of HTTP itself, wherever there is a body or a cache
    "X-Content-Type-Options", "X-Frame-Options", "Content-Security-Policy", "Cross-Origin-Resource-Policy",
    "Cross-Origin-Opener-Policy", "Referrer-Policy", "Strict-Transport-Security",  # for browsers (api/headers.py)
    "Access-Control-Allow-Origin", "Access-Control-Expose-Headers",  # likewise (api/cors.py)
    "X-Accel-Buffering",  # for a proxy
}  # fmt: skip
"""Headers that no operation describes: they tell its callers nothing of it."""


class Headers:
    """Notes the headers of every answer of an app, by version, method, path and status."""

    def __init__(self, app):
        self.noted = defaultdict(set)
        api = app.extensions["agora-api"]
        self._paths = {version: document_of(app, api, version)["paths"] for version in VERSIONS}
        request_finished.connect(self._note, app)  # for as long as this object is there

    def _note(self, _, response, **__):
        rule, version = request.url_rule, response.headers.get("Agora-Version")
        if rule is not None and version in self._paths:
            path = rule.rule.replace("<", "{").replace(">", "}")
            self.noted[version, request.method.lower(), path, str(response.status_code)].update(response.headers.keys())

    def undescribed(self):
        """Headers that answers had and the document has not, by version, operation and status.

        Of refusals it describes those that are likely; what else there is the catalogue of errors has.
        """
        found = {}
        for (version, method, path, status), names in self.noted.items():
            operation = self._paths[version].get(path, {}).get(method)
            if operation is not None and (status < "400" or status in operation["responses"]):
                described = operation["responses"].get(status, {}).get("headers", {})
                found[version, method, path, status] = names - GENERAL - described.keys()
        return {key: names for key, names in found.items() if names}

    def unsent(self):
        """Headers of successes that the document has and no answer of the newest version had, by operation."""
        found = {}
        for path, item in self._paths[NEWEST].items():
            for method in METHODS & item.keys():
                for status, answer in item[method]["responses"].items():
                    own = answer["headers"].keys() - ALWAYS.keys() - DEPRECATING.keys()
                    missing = own - self.noted[NEWEST, method, path, status]
                    if status < "400" and missing:
                        found[item[method]["operationId"], status] = missing
        return found
