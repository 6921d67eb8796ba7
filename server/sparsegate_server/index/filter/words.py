r"""The analyzer of filters: what a word is, and when a text holds a phrase.

Texts are folded (NFKC and case folding) before they are compared; a word is a run of `\w`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

_WORD: Final = re.compile(r"\w+")


def fold(text: str) -> str:
    """`text` without the differences of letter case and of compatible characters."""
    if text.isascii():
        return text.lower()
    # Folding may undo the normal form: Unicode asks for it on both sides.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def words(text: str) -> list[str]:
    """The folded words of a text, in their order, repeated as they are."""
    return _WORD.findall(fold(text))


@lru_cache(maxsize=256)
def phrase_words(phrase: str) -> frozenset[str]:
    """The distinct words of a query's text or phrase, remembered between documents."""
    return frozenset(words(phrase))


def is_one_word(phrase: str) -> bool:
    """Whether a phrase is one word and nothing else, white space around it aside."""
    return _WORD.fullmatch(fold(phrase).strip()) is not None


def contains_phrase(text: str, phrase: str) -> bool:
    """Whether `phrase` occurs in `text` and is not cut out of a longer word.

    Runs of white space are equal to one space. Where the phrase begins or ends with a letter,
    a digit or an underscore, the text must not go on with one: AB-12 is not in AB-123.
    """
    return _pattern(phrase).search(_spaced(text)) is not None


@lru_cache(maxsize=256)
def _pattern(phrase: str) -> re.Pattern[str]:
    spaced = _spaced(phrase)
    before = r"(?<!\w)" if re.match(r"\w", spaced) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", spaced) else ""
    return re.compile(f"{before}{re.escape(spaced)}{after}")


def _spaced(text: str) -> str:
    return " ".join(fold(text).split())
