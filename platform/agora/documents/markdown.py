"""Markdown as plain text: the syntax is gone, headings, items and table rows stay apart."""

from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from agora.documents.model import Builder

_HARD_NESTING = 100


def add_markdown(builder: Builder, text: str) -> None:
    """Add the blocks of a Markdown text. HTML in it is left out; link texts stay, addresses go."""
    tokens = MarkdownIt("commonmark", {"maxNesting": _HARD_NESTING}).enable("table").parse(_without_front_matter(text))
    depth = 0
    for position, token in enumerate(tokens):
        match token.type:
            case "list_item_open":
                depth += 1
            case "list_item_close":
                depth -= 1
            case "fence" | "code_block":
                builder.block(token.content, layout="code")
            case "inline":
                _inline(builder, tokens, position, in_list=depth > 0)
            case "tr_open":
                _row(builder, tokens, position)


def _inline(builder: Builder, tokens: Sequence[Token], position: int, *, in_list: bool) -> None:
    opener = tokens[position - 1] if position else None
    kind = opener.type if opener else ""
    if kind in {"th_open", "td_open"}:
        return
    text = _plain(tokens[position])
    if kind == "heading_open" and opener is not None:
        builder.heading(text, int(opener.tag[1:]))
    else:
        builder.block(text, layout="item" if in_list else "paragraph")


def _row(builder: Builder, tokens: Sequence[Token], position: int) -> None:
    cells: list[str] = []
    header = False
    for token in tokens[position + 1 :]:
        if token.type == "tr_close":
            break
        header = header or token.type == "th_open"
        if token.type == "inline":
            cells.append(" ".join(_plain(token).replace("|", "/").split()))
    line = " | ".join(cell for cell in cells if cell)
    if header:
        builder.note(line)
    else:
        builder.block(line, layout="row")


def _plain(token: Token) -> str:
    parts: list[str] = []
    for child in token.children or ():
        if child.type in {"text", "code_inline", "text_special"}:
            parts.append(child.content)
        elif child.type in {"softbreak", "hardbreak"}:
            parts.append(" ")
        elif child.type == "image":
            parts.append(child.content)
    return "".join(parts)


def _without_front_matter(text: str) -> str:
    if text.startswith("---\n"):
        end = text.find("\n---\n", 4)
        if 0 < end < 4000:  # noqa: PLR2004  # a longer one is no front matter
            return text[end + 5 :]
    return text
