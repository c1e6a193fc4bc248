"""The language of a text. English is told by its small words; only what fails that is put to a model.

The model (py3langid) takes half a second and a hundred megabytes to load, so English documents never load it.
"""

import re
from functools import cache
from typing import Protocol

_WORDS = re.compile(r"[^\W\d_]+")
_ENGLISH = frozenset(
    [
        "the",
        "of",
        "and",
        "to",
        "in",
        "is",
        "are",
        "be",
        "that",
        "for",
        "it",
        "as",
        "with",
        "on",
        "by",
        "this",
        "must",
        "shall",
        "should",
        "will",
        "which",
        "an",
        "from",
        "or",
        "not",
        "can",
        "have",
        "has",
        "at",
        "was",
        "were",
        "we",
        "they",
        "their",
        "our",
        "you",
        "your",
        "but",
        "if",
        "when",
        "all",
        "any",
        "each",
        "every",
        "may",
        "more",
        "than",
        "a",
        "i",
    ]
)
_SAMPLE = 20_000
_MIN_WORDS = 20
"""Below this no method is to be trusted: a short text counts as English unless its script says otherwise."""
_ENGLISH_SHARE = 0.18
_SURE = 0.95
_FOREIGN_SCRIPT = 0.5
_NAMES = {
    "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "nl": "Dutch", "pt": "Portuguese",
    "pl": "Polish", "ru": "Russian", "uk": "Ukrainian", "sv": "Swedish", "da": "Danish", "no": "Norwegian",
    "nb": "Norwegian", "nn": "Norwegian", "fi": "Finnish", "cs": "Czech", "sk": "Slovak", "hu": "Hungarian",
    "ro": "Romanian", "tr": "Turkish", "el": "Greek", "ar": "Arabic", "he": "Hebrew", "zh": "Chinese",
    "ja": "Japanese", "ko": "Korean", "hi": "Hindi", "la": "Latin",
}  # fmt: skip


class _Identifier(Protocol):
    def classify(self, text: str) -> tuple[str, float]: ...


def language_of(text: str) -> str:
    """ISO 639-1 code of the text's language; "en" whenever there is no good reason to say another."""
    sample = _sample(text)
    words = [word.lower() for word in _WORDS.findall(sample)]
    letters = "".join(words)
    foreign = sum(1 for letter in letters if ord(letter) > 0x24F)  # noqa: PLR2004  # beyond the Latin blocks
    if len(letters) >= _MIN_WORDS and foreign > _FOREIGN_SCRIPT * len(letters):
        return _identifier().classify(sample)[0]
    if len(words) < _MIN_WORDS:
        return "en"
    if sum(1 for word in words if word in _ENGLISH) >= _ENGLISH_SHARE * len(words):
        return "en"
    code, probability = _identifier().classify(sample)
    return code if probability >= _SURE else "en"


def language_name(code: str) -> str:
    """The English name of a language, or its code where the name is not known here."""
    return _NAMES.get(code, code)


def _sample(text: str) -> str:
    """The beginning and the middle: a foreign title page must not decide for the whole."""
    if len(text) <= 2 * _SAMPLE:
        return text
    middle = len(text) // 2
    return text[:_SAMPLE] + " " + text[middle : middle + _SAMPLE]


@cache
def _identifier() -> _Identifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415  # slow, and hardly ever needed

    found: _Identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return found
