"""What every answer tells browsers: it is what it says it is, belongs in no frame, loads nothing, leaks no address."""

from flask import Flask, Response, request

from agora.settings import get_settings

POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy of whatever is no page; pages have one of their own that allows their style."""
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
}
OF_PAGES = ALWAYS | {
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""What only a document of a browser heeds; every other answer is spared it, and its reader the parsing."""


def is_secure() -> bool:
    """Whether the client came by https."""
    return request.is_secure or get_settings().public_url.startswith("https://")


def add(response: Response) -> Response:
    """Add what the answer does not say itself."""
    there = response.headers
    is_page = (there.get("Content-Type") or "").startswith("text/html")
    for name, value in (OF_PAGES if is_page else ALWAYS).items():
        if name not in there:  # quicker than setdefault, on the path of every request
            there.add(name, value)
    seconds = get_settings().hsts_seconds
    if seconds and is_secure():
        response.headers["Strict-Transport-Security"] = f"max-age={seconds}"
    return response


def install(app: Flask) -> None:
    """Apply to every answer."""
    app.after_request(add)
