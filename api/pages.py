"""What both people and programs read: a page for the one, JSON for the other, the same for everybody."""

from typing import Any

from flask import Response, jsonify, render_template, request

HTML, JSON = "text/html", "application/json"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy of a page with a style of its own, and nothing else."""


def page(template: str, **context: Any) -> Response:
    """A page."""
    response = Response(render_template(template, **context), content_type=f"{HTML}; charset=utf-8")
    response.headers["Content-Security-Policy"] = POLICY
    return response


def page_or_json(template: str, told: dict[str, Any], **context: Any) -> Response:
    """A page for browsers, else ``told``; anybody may keep it for an hour."""
    wants_page = request.accept_mimetypes.best_match([JSON, HTML]) == HTML
    response = page(template, **context) if wants_page else jsonify(told)
    response.headers["Vary"] = "Accept"
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response
