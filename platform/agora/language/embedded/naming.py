"""Keys and values: what a specification is called, and what it says in short."""

import re

from agora.language.embedded.reading import Reader, Sentence

KEY_WORDS = 3
MAX_KEY = 80
MAX_VALUE = 90
_WORD = re.compile(r"^[a-z][a-z0-9]*$")
_SUBJECT_CUES = frozenset({"obligation", "prohibition", "recommendation", "future", "need", "user_story"})


class Namer:
    """Names specifications after the lexicon's aspects, else after their own words."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._categories = {category.name: category for category in reader.lexicon.categories}

    def aspect(self, category: str, sentence: Sentence) -> str:
        """The key of the aspect that the sentence speaks of, or ""."""
        aspects = self._categories[category].aspects if category in self._categories else ()
        dimensions = {quantity.dimension for quantity in sentence.quantities}
        best, best_score = "", 0.0
        for index, position in self._reader.aspects.get(category, ()):
            aspect = aspects[position]
            words = len({match.payload for match in index.find(sentence.tokens)})
            measured = bool(dimensions & set(aspect.dimensions))
            score = words + (0.5 if measured and words else 0.0)
            if score > best_score:
                best, best_score = aspect.key, score
        return best

    def key(self, category: str, sentence: Sentence) -> str:
        """``category.aspect``, or ``category.`` and the first telling words of what is demanded."""
        name = self.aspect(category, sentence)
        if not name and sentence.technologies and category == self._reader.lexicon.technology_category:
            name = sentence.technologies[0].payload[0].name.replace(" ", "_")
        return f"{category}.{name or self.slug(sentence)}"

    def qualified(self, key: str, sentence: Sentence) -> str:
        """The key with the sentence's own words behind it, for a second sentence on the same aspect."""
        taken = set(re.split(r"[._]", key))
        slug = self.slug(sentence, leave_out=frozenset(taken))
        return f"{key}.{slug}"[:MAX_KEY].rstrip("._")

    def slug(self, sentence: Sentence, leave_out: frozenset[str] = frozenset()) -> str:
        """Up to three telling words in snake_case; "statement" when there is none."""
        start = self._predicate(sentence)
        chosen = self._telling(sentence, start, leave_out)
        if len(chosen) < KEY_WORDS:
            chosen += [word for word in self._telling(sentence, 0, leave_out) if word not in chosen]
        return "_".join(chosen[:KEY_WORDS])[:MAX_KEY].strip("_") or "statement"

    def _telling(self, sentence: Sentence, start: int, leave_out: frozenset[str]) -> list[str]:
        skip = {position for quantity in sentence.quantities for position in range(quantity.start, quantity.end)}
        words: list[str] = []
        for position, token in enumerate(sentence.tokens[start:], start):
            word = token.word.removesuffix("'s").replace("'", "")
            fresh = word not in words and word not in leave_out and word not in self._reader.title_words
            if position not in skip and fresh and len(word) > 1 and _WORD.match(word):
                words.append(word)
        return words

    def _predicate(self, sentence: Sentence) -> int:
        """Where the demand itself begins: behind its modal verb."""
        for match in sentence.cues:
            if match.payload.name in _SUBJECT_CUES:
                return match.end
        return 0

    def value(self, category: str, sentence: Sentence) -> str:
        """Technologies or quantities where the category is about those, else a short phrase of what is demanded."""
        lexicon = self._reader.lexicon
        if sentence.technologies and (category == lexicon.technology_category or not sentence.quantities):
            names = ", ".join(dict.fromkeys(match.payload[1].name for match in sentence.technologies))
            return f"not {names}" if sentence.denied else names
        if sentence.quantities and self._measured(category):
            limited = [quantity for quantity in sentence.quantities if quantity.comparator != "="]
            chosen = (limited or list(sentence.quantities))[:2]
            return ", ".join(dict.fromkeys(quantity.text for quantity in chosen))
        return self._phrase(sentence)

    def _measured(self, category: str) -> bool:
        known = self._categories.get(category)
        return known is not None and (bool(known.measures) or any(aspect.dimensions for aspect in known.aspects))

    def _phrase(self, sentence: Sentence) -> str:
        start = self._predicate(sentence)
        offset = sentence.tokens[start].start if 0 < start < len(sentence.tokens) else 0
        text = " ".join(sentence.text[offset:].split()).rstrip(".;:, ")
        if len(text) > MAX_VALUE:
            text = text[:MAX_VALUE].rsplit(" ", 1)[0].rstrip(",;: ") + " …"
        said = offset == 0 or text.lower().startswith(("not ", "never "))
        return f"not {text}" if sentence.denied and not said else text
