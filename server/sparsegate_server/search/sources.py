"""Which token of a text each of its terms came from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.encoders.base import Tokenized
from sparsegate_server.types import SparseVector

MOST_CHARACTERS: Final = 256
"""Of a token or a word that are told. The tokenizer takes any run of letters that it does not know
for one token, however long."""

TOLERANCE: Final = 1e-3
"""How far two weights of one term may be apart, absolutely and relatively, and still be the same.
A batch of another shape is added up in another order, which moves a weight by less than 1e-6 on a
CPU; another precision moves many weights further than this."""

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
"""Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Japanese and Chinese."""


class SourceState(Enum):
    """Why the tokens that a text's terms came from are known, or not."""

    KNOWN = "known"
    NO_POSITIONS = "no positions"
    """The model's graph does not say; another export of the same model would."""
    NO_TEXT = "no text"
    """The query came as a vector; the document has no text, or the collection keeps none."""
    OTHER_VECTOR = "other vector"
    """The document's stored vector is not, or not altogether, what the model makes of its text: it
    came with the document, or was made in another precision. Terms that agree have their source,
    others have none."""
    UNAVAILABLE = "unavailable"
    """The document's text could not be encoded again just now."""


@dataclass(frozen=True, slots=True)
class SourceToken:
    """The token that put a term into a vector.

    Attributes:
        position: among the text's tokens, special ones included, from 0.
        text: its characters as the text has them; the vocabulary's string where it stands for
            none, as special tokens do. Cut to `MOST_CHARACTERS`.
        start, end: its characters are text[start:end].
        word: `text` and the letters, digits and marks that join it on either side; `text` itself
            where the whole would be longer than `MOST_CHARACTERS`.
    """

    position: int
    text: str
    start: int
    end: int
    word: str


@dataclass(frozen=True, slots=True)
class Sources:
    """The tokens that a text's terms came from, by term id, as far as they are known."""

    state: SourceState
    tokens: Mapping[int, SourceToken] = field(default_factory=dict)


def sources_of(
    text: str,
    tokenized: Tokenized,
    terms: NDArray[np.uint32],
    positions: NDArray[np.uint16],
) -> dict[int, SourceToken]:
    """The source of each term.

    Args:
        tokenized: of the text.
        terms: ids.
        positions: parallel to them, places among the tokens.
    """
    made = {int(at): _source(text, tokenized, int(at)) for at in np.unique(positions)}
    return {int(t): made[int(at)] for t, at in zip(terms, positions, strict=True)}


def agreeing(stored: SparseVector, made: SparseVector) -> tuple[NDArray[np.uint32], bool]:
    """How far two vectors of one text are the same, but for `TOLERANCE`.

    Returns:
        uint32, ascending: terms of both whose weights agree; and whether all terms do.
    """
    terms = np.union1d(stored.indices, made.indices)
    own, other = _weights(stored, terms), _weights(made, terms)
    close = np.isclose(own, other, rtol=TOLERANCE, atol=TOLERANCE)
    return terms[close & (own > 0) & (other > 0)], bool(close.all())


def word_around(text: str, start: int, end: int) -> str:
    """text[start:end] with what joins it to a word on either side: letters, digits and marks.

    Nothing joins to punctuation, nor in scripts that put no spaces between words. Empty where the
    whole is longer than `MOST_CHARACTERS`.
    """
    first, last = start, end
    if start < end and _joins(text[start]):
        while first > 0 and end - first <= MOST_CHARACTERS and _joins(text[first - 1]):
            first -= 1
    if start < end and _joins(text[end - 1]):
        while last < len(text) and last - first <= MOST_CHARACTERS and _joins(text[last]):
            last += 1
    return text[first:last] if last - first <= MOST_CHARACTERS else ""


def _source(text: str, tokenized: Tokenized, at: int) -> SourceToken:
    token = tokenized.tokens[at]
    own = text[token.start : token.end] or token.text
    own = own[:MOST_CHARACTERS]
    word = word_around(text, token.start, token.end) or own
    return SourceToken(at, own, token.start, token.end, word)


def _joins(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM" and not _UNSPACED.match(character)


def _weights(vector: SparseVector, terms: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The vector's weights of ascending terms, which hold all of its own; zero for others."""
    weights = np.zeros(len(terms), np.float32)
    weights[np.searchsorted(terms, vector.indices)] = vector.values
    return weights
