"""Bytes to text: UTF-8, UTF-16 with or without a mark, else Windows-1252; and what is no text at all."""

import codecs

from agora.documents.errors import DocumentBinary

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 65_536
_MAX_CONTROL = 0.003
_MIN_ZERO_SHARE = 0.3
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\v\x1b")
_MIN_LETTERS = 0.6


def decode(data: bytes) -> str:
    """The text, with line feeds as line ends. Raises DocumentBinary when the bytes are no text."""
    text = _decode(data)
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n").replace("\x00", "")


def _decode(data: bytes) -> str:
    for mark, name in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(name)
            except UnicodeDecodeError as error:
                raise DocumentBinary(f"the bytes begin as {name} but go on otherwise") from error
    wide = _unmarked_utf16(data[:_SAMPLE])
    if wide is not None:
        return data.decode(wide, errors="replace")
    sample = data[:_SAMPLE]
    controls = sum(1 for byte in sample if byte < 0x20 and byte not in _TEXT_CONTROLS)  # noqa: PLR2004  # ASCII controls
    if sample and controls / len(sample) > _MAX_CONTROL:
        raise DocumentBinary("the bytes are no text in a known encoding, and no PDF or DOCX")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _western(data)


def _unmarked_utf16(sample: bytes) -> str | None:
    """UTF-16 of mostly Latin text shows as zero bytes at every second place."""
    if len(sample) < 8:  # noqa: PLR2004  # too little to tell
        return None
    even, odd = sample[0::2].count(0) / len(sample[0::2]), sample[1::2].count(0) / len(sample[1::2])
    if odd > _MIN_ZERO_SHARE and even < 0.01:  # noqa: PLR2004
        return "utf-16-le"
    if even > _MIN_ZERO_SHARE and odd < 0.01:  # noqa: PLR2004
        return "utf-16-be"
    return None


def _western(data: bytes) -> str:
    text = data.decode("cp1252", errors="replace")
    sample = text[:_SAMPLE]
    good = sum(1 for char in sample if char.isalpha() or char.isspace() or char.isascii())
    if "\ufffd" in sample or good < _MIN_LETTERS * len(sample):
        plain = sum(1 for char in sample if char.isascii())
        if plain < 0.8 * len(sample):  # mostly ASCII with a few odd bytes is still text
            raise DocumentBinary("the bytes are no text in a known encoding, and no PDF or DOCX")
    return text
