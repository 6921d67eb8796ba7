"""Times searches of a collection's own model with and without further tiers in the same index.

    python -m bench.micro.ladder --data wiki200k/vectors.npz

The further tiers hold the same vectors, each for the document so many rows further on, so that they
are as long and as varied as a model's are. Two vocabularies of BERT's size take term ids of 16 bits
each, three take 32. Every search is one call of `Collection.search` in one thread, Python and the
ladder's own arithmetic included, and finds the same documents with the same scores whatever stands
beside them, which is checked first. The collections take turns, a pass of all questions at a time;
a figure is the best pass. `--smoke` tries it with a few made-up vectors.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from bench import wiki
from bench.micro.search import loaded
from bench.stopwatch import least
from llvmlite.binding import get_host_cpu_name
from rich.console import Console
from rich.table import Table

from sparsegate_server import index
from sparsegate_server.backends.ranges import TermRanges
from sparsegate_server.index.forward import Forward
from sparsegate_server.operations import Document, SearchOptions, SearchResult, Selection
from sparsegate_server.types import SparseVector

_MOST_TIERS: Final = 3
_STEP: Final = 7919
"""Rows from a document to the one whose vector it has in the next tier."""

_UPSERT: Final = 1000
_TAIL: Final = 1000
"""Few enough documents to stay unsealed."""

CASES: Final = {
    "k = 10": SearchOptions(10),
    "k = 100": SearchOptions(100),
    "k = 1000": SearchOptions(1000),
    "k = 10, IDF": SearchOptions(10, idf=True),
    "k = 10, with vectors": SearchOptions(10, select=Selection(vector=True)),
}


class Ladder(NamedTuple):
    """A collection, and where the terms of its tiers lie."""

    collection: index.Collection
    ranges: TermRanges

    def search(self, query: SparseVector, options: SearchOptions) -> SearchResult:
        """As the backend searches the collection's own model."""
        asked = self.ranges.asked(query, options)
        return self.ranges.result(self.collection.search(*asked), options.tier)


def documents_of(vectors: Forward, ranges: TermRanges, tiers: int) -> Iterator[Document]:
    rows = len(vectors)
    for row in range(rows):
        own, *ladder = (vectors.row((row + tier * _STEP) % rows) for tier in range(tiers))
        yield ranges.joined(Document(row, own, ladder=tuple(ladder)))


def first(vectors: Forward, rows: int) -> Forward:
    """The first `rows` of the vectors, or all."""
    indptr = vectors.indptr[: rows + 1]
    return Forward(indptr, vectors.terms[: indptr[-1]], vectors.weights[: indptr[-1]])


def check(ladders: Sequence[Ladder], queries: Sequence[SparseVector]) -> None:
    """Raises AssertionError: what stands beside a tier changes what is found in it."""
    for options in CASES.values():
        for query in queries:
            alone, *others = (each.search(query, options) for each in ladders)
            for other in others:
                assert list(other.ids) == list(alone.ids)
                assert list(other.scores) == list(alone.scores)
                for one, same in zip(alone.documents, other.documents, strict=True):
                    assert one.vector is not None
                    assert same.vector is not None
                    assert np.array_equal(one.vector.indices, same.vector.indices)
                    assert np.array_equal(one.vector.values, same.vector.values)


def measured(
    vectors: Forward, queries: Sequence[SparseVector], *, optimize: bool, seconds: float
) -> Table:
    """Microseconds a search, by the number of tiers in the index."""
    shape = "one segment" if optimize else "the tail"
    table = Table(title=f"µs a search of tier 0, {len(vectors):,} documents in {shape}")
    table.add_column("search", no_wrap=True)
    for tiers in range(1, _MOST_TIERS + 1):
        table.add_column("alone" if tiers == 1 else f"of {tiers} tiers", justify="right")
    for tiers in range(2, _MOST_TIERS + 1):
        table.add_column(f"{tiers} tiers ÷ alone", justify="right")
    with ExitStack() as stack:
        ladders = []
        for tiers in range(1, _MOST_TIERS + 1):
            ranges = TermRanges([wiki.VOCABULARY] * tiers)
            documents = list(documents_of(vectors, ranges, tiers))
            filling = loaded(documents, batch=_UPSERT, optimize=optimize, vocabulary=ranges.total)
            ladders.append(Ladder(stack.enter_context(filling), ranges))
        check(ladders, queries)
        for case, options in CASES.items():

            def a_pass(of: Ladder, options: SearchOptions = options) -> None:
                for query in queries:
                    of.search(query, options)

            calls = {
                str(tiers): lambda each=each: a_pass(each) for tiers, each in enumerate(ladders, 1)
            }
            taken = [each / len(queries) * 1e6 for each in least(calls, seconds).values()]
            ratios = [f"{each / taken[0]:.2f}" for each in taken[1:]]
            table.add_row(case, *(f"{each:.0f}" for each in taken), *ratios)
    return table


def made_up(rows: int, questions: int) -> wiki.Data:
    """Vectors whose terms follow Zipf's law, as words do."""
    random = np.random.default_rng(0)

    def vector(draws: int) -> SparseVector:
        terms = np.unique(random.zipf(1.2, draws) % wiki.VOCABULARY).astype(np.uint32)
        return SparseVector(terms, random.uniform(0.1, 3, len(terms)).astype(np.float32))

    documents = Forward.of([vector(60) for _ in range(rows)])
    return wiki.Data(documents, [vector(12) for _ in range(questions)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="vectors.npz of wiki200k")
    parser.add_argument("--queries", type=int, default=300, help="how many questions to time")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each kind of search")
    parser.add_argument("--smoke", action="store_true", help="tiny, of made-up vectors")
    asked = parser.parse_args(arguments)
    if not asked.smoke and asked.data is None:
        parser.error("this benchmark needs --data; try it without by --smoke")
    index.warm_up()
    console = Console(width=120)
    console.print(f"{platform.platform()}, {os.cpu_count()} cores, {get_host_cpu_name()}")
    if asked.smoke:
        console.print("made-up vectors: figures mean nothing")
    data = made_up(400, 10) if asked.smoke else wiki.read(asked.data)
    seconds = 0.0 if asked.smoke else asked.seconds
    queries = data.queries[: asked.queries]
    console.print(measured(data.documents, queries, optimize=True, seconds=seconds))
    tail = first(data.documents, _TAIL)
    console.print(measured(tail, queries, optimize=False, seconds=seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
