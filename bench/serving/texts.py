"""Reads a collection in BEIR's layout, and makes texts of mixed lengths of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_SHORTEST, _LONGEST = 4, 128
"""Words of texts of mixed lengths."""


@dataclass(frozen=True, slots=True)
class Beir:
    """A test collection.

    Attributes:
        documents: title and text of each, in the order of the corpus; some may be blank.
        questions: by the collection's own ids.
        judged: for a question the gains of documents, by position in the corpus; only questions
            that have a relevant one.
    """

    name: str
    documents: Sequence[str]
    questions: Mapping[str, str]
    judged: Mapping[str, Mapping[int, int]]

    @classmethod
    def read(cls, folder: Path) -> Beir:
        """Args:
        folder: with corpus.jsonl, queries.jsonl and qrels/test.tsv.
        """
        rows = _lines(folder / "corpus.jsonl")
        positions = {row["_id"]: position for position, row in enumerate(rows)}
        judged: dict[str, dict[int, int]] = {}
        for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]:
            question, document, gain = line.split("\t")
            if int(gain) > 0 and document in positions:
                judged.setdefault(question, {})[positions[document]] = int(gain)
        return cls(
            folder.name,
            [f"{row.get('title', '')} {row['text']}" for row in rows],
            {row["_id"]: row["text"] for row in _lines(folder / "queries.jsonl")},
            judged,
        )


def mixed(documents: Sequence[str], number: int, seed: int = 0) -> list[str]:
    """The first words of documents, 4 to 128 of them, evenly so on a logarithmic scale."""
    draw = np.random.default_rng(seed)
    lengths = np.exp(draw.uniform(np.log(_SHORTEST), np.log(_LONGEST + 1), number)).astype(int)
    rows = draw.integers(len(documents), size=number)
    pairs = zip(rows.tolist(), lengths.tolist(), strict=True)
    return [" ".join(documents[row].split()[:length]) for row, length in pairs]


def unseen(texts: Sequence[str]) -> Iterator[str]:
    """The texts over and over, no two of them the same to a cache: spaces at the end, which no
    model sees, count the turns."""
    for turn in itertools.count():
        yield from (text + " " * turn for text in texts)


def _lines(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
