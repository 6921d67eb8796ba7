"""BM25 over the words of the passages: impacts as sparse vectors, and short questions.

A word is a run of letters, digits and underscores in lower case. An impact is idf · tf / (tf + k1 ·
(1 - b + b · length / mean length)) with idf = ln(1 + (N - n + 0.5) / (n + 0.5)), in float32.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.forward import Forward, indptr_of
from sparsegate_server.types import SparseVector

K1 = 0.9
B = 0.4
WORDS = (2, 3, 4)
"""In a question, each length as likely as the others."""

_WORD = re.compile(r"\w+")
_SEED = 23


class Tokens(NamedTuple):
    """Attributes:
    indptr: int64 [passages + 1]. words: int32, numbers of the words of each passage, in order.
    vocabulary: how many words there are.
    """

    indptr: NDArray[np.int64]
    words: NDArray[np.int32]
    vocabulary: int


def read(corpus: Path, passages: int) -> Tokens:
    """The first passages of a corpus.jsonl.xz."""
    numbers: dict[str, int] = {}
    pieces, lengths = [], []
    for text in _texts(corpus, passages):
        words = [numbers.setdefault(word, len(numbers)) for word in _WORD.findall(text.lower())]
        pieces.append(np.array(words, np.int32))
        lengths.append(len(words))
    return Tokens(indptr_of(np.array(lengths, np.int64)), np.concatenate(pieces), len(numbers))


def _texts(corpus: Path, passages: int) -> Iterator[str]:
    with lzma.open(corpus, "rt", encoding="utf-8") as lines:
        for _, line in zip(range(passages), lines, strict=False):
            passage = json.loads(line)
            yield f"{passage['title']} {passage['text']}"


def impacts(tokens: Tokens) -> Forward:
    """A row of impacts for every passage."""
    lengths = np.diff(tokens.indptr)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    pairs, counts = np.unique(owners * tokens.vocabulary + tokens.words, return_counts=True)
    owners, terms = np.divmod(pairs, tokens.vocabulary)
    having = np.bincount(terms, minlength=tokens.vocabulary)
    idf = np.log1p((len(lengths) - having + 0.5) / (having + 0.5))
    norms = K1 * (1 - B + B * lengths / lengths.mean())
    weights = idf[terms] * counts / (counts + norms[owners])
    rows = np.bincount(owners, minlength=len(lengths)).astype(np.int64)
    return Forward(indptr_of(rows), terms.astype(np.uint32), weights.astype(np.float32))


def questions(tokens: Tokens, count: int) -> list[SparseVector]:
    """Different words of one passage each, drawn by their place in it: as frequent words are asked
    for as often as they are written, stop words included. All weigh one."""
    draw = np.random.default_rng(_SEED)
    asked: list[SparseVector] = []
    while len(asked) < count:
        passage = int(draw.integers(len(tokens.indptr) - 1))
        words = tokens.words[tokens.indptr[passage] : tokens.indptr[passage + 1]]
        wanted = int(draw.choice(WORDS))
        different = list(dict.fromkeys(draw.permutation(words).tolist()))
        if len(different) >= wanted:
            terms = np.array(sorted(different[:wanted]), np.uint32)
            asked.append(SparseVector(terms, np.ones(wanted, np.float32)))
    return asked
