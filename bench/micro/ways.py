"""Times every way through a segment for every class of queries, and how good the choice is.

    python -m bench.micro.ways --data wiki200k/vectors.npz

A class is a number of hits, a number of terms, and a share of documents that a filter lets pass, at
random or in a row. For each question the ways take turns; its time is the best of some rounds. One
call of `Segment.search_by` each, in one thread, of one segment in memory; the filter is evaluated
before. Scans are left out where they would take more than fifty times as long as needed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench import wiki
from bench.micro.search import details
from rich.console import Console
from rich.table import Table

from sparsegate_server import index
from sparsegate_server.index import kernels
from sparsegate_server.index.chooser import SCAN, way_for
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.ids import encode
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.leaders import Leaders
from sparsegate_server.index.part import Query
from sparsegate_server.index.segment import Segment

WAYS = {
    "stepwise": kernels.STEPWISE,
    "whole": kernels.WHOLE,
    "rare": kernels.RARE,
    "scan": SCAN,
}


class Class(NamedTuple):
    """Queries of one kind: `terms` is the most of each that are kept, heaviest first."""

    limit: int
    terms: int
    share: float | None
    contiguous: bool = False

    def __str__(self) -> str:
        asked = f"k = {self.limit}, {'all' if self.terms > 99 else self.terms} terms"
        if self.share is None:
            return asked
        return f"{asked}, {self.share:.1%} {'in a row' if self.contiguous else 'at random'}"


def classes() -> Iterator[Class]:
    for limit in (1, 10, 30, 100, 1000):
        for terms in (2, 4, 10, 100):
            yield Class(limit, terms, None)
    for share in (0.5, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001):
        for contiguous in (False, True):
            yield Class(10, 100, share, contiguous)
        yield Class(1000, 100, share)
        yield Class(10, 4, share)


def mask_of(kind: Class, rows: int) -> Mask | None:
    if kind.share is None:
        return None
    random = np.random.default_rng(1)
    if kind.contiguous:
        first = rows // 3
        return Mask.of(np.arange(first, first + int(rows * kind.share), dtype=np.uint32), rows)
    return Mask.of(np.flatnonzero(random.random(rows) < kind.share), rows)


def query_of(kind: Class, terms: np.ndarray, weights: np.ndarray) -> Query:
    kept = np.sort(np.argsort(-weights, kind="stable")[: kind.terms])
    return Query(terms[kept], weights[kept], wiki.VOCABULARY, kind.limit, np.uint64(1))


def microseconds(
    segment: Segment, kind: Class, queries: Sequence[Query], mask: Mask | None, rounds: int
) -> dict[str, float]:
    """Mean over the queries, by way."""
    ways = dict(WAYS)
    if mask is None:
        del ways["rare"]
    if mask is None or mask.count > segment.rows / 20:
        del ways["scan"]
    best = {name: np.full(len(queries), np.inf) for name in ways}
    for _ in range(rounds):
        for number, query in enumerate(queries):
            for name, way in ways.items():
                leaders = Leaders(kind.limit)
                begin = time.perf_counter()
                segment.search_by(way, query, leaders, mask)
                best[name][number] = min(best[name][number], time.perf_counter() - begin)
    return {name: float(times.mean()) * 1e6 for name, times in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="vectors.npz of wiki200k")
    parser.add_argument("--queries", type=int, default=200, help="of each class")
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    index.warm_up()
    data = wiki.read(asked.data)
    documents = data.documents.stored(wiki.VOCABULARY)
    rows = len(documents)
    keys = Keys.of([encode(number) for number in range(rows)])
    segment = Segment.build(keys, details(rows), documents, wiki.VOCABULARY)
    table = Table(title=f"µs a search of {rows:,} documents in one segment, one thread")
    table.add_column("class")
    for name in (*WAYS, "chosen", "of the best"):
        table.add_column(name, justify="right")
    for kind in classes():
        mask = mask_of(kind, rows)
        queries = [query_of(kind, each.indices, each.values) for each in data.queries]
        taken = microseconds(segment, kind, queries[: asked.queries], mask, asked.rounds)
        way = way_for(queries[0], rows, mask)
        chosen = next(name for name, each in WAYS.items() if each == way)
        cells = [f"{taken[name]:.0f}" if name in taken else "" for name in WAYS]
        ratio = taken[chosen] / min(taken.values())
        table.add_row(str(kind), *cells, chosen, f"{ratio:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
