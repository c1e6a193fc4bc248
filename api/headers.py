"""What every answer tells browsers: it is what it says it is, belongs in no frame, loads nothing, leaks no address."""

from flask import Flask, Response, request

from agora.settings import get_settings

POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy of whatever is no page; pages have one of their own that allows their style."""
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def is_secure() -> bool:
    """Whether the client came by https."""
    return request.is_secure or get_settings().public_url.startswith("https://")


def add(response: Response) -> Response:
    """Add what the answer does not say itself."""
    for name, value in ALWAYS.items():
        response.headers.setdefault(name, value)
    seconds = get_settings().hsts_seconds
    if seconds and is_secure():
        response.headers["Strict-Transport-Security"] = f"max-age={seconds}"
    return response


def install(app: Flask) -> None:
    """Apply to every answer."""
    app.after_request(add)
