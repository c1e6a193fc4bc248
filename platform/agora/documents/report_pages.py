"""The report as Markdown and as one HTML file. User text is escaped in both; nothing of it becomes markup."""

import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from agora.documents.report_view import View

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")
_LIST = re.compile(r"^(\d+)([.)])(?=\s|$)|^([-+=])")


def markdown(view: View) -> str:
    """The report as Markdown."""
    return _template("report.md").render(view=view)


def standalone_html(view: View) -> str:
    """The report as one HTML file that needs nothing else and prints well."""
    return _template("report.html").render(view=view)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("agora.documents", "templates"),
        # HTML escapes by itself; Markdown templates pass every text through the filter "plain".
        autoescape=select_autoescape(("html.jinja",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = escape_markdown
    return environment.get_template(f"{name}.jinja")


def escape_markdown(text: str) -> str:
    """Text in which no character means anything to Markdown."""
    escaped = _SPECIAL.sub(r"\\\1", text)
    return _LIST.sub(lambda match: "\\" + match.group() if match.group(3) else f"{match[1]}\\{match[2]}", escaped)
