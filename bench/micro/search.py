"""Times the embedded engine on encoded vectors: build, merge, search.

    python -m bench.micro.search --data wiki200k/vectors.npz

Weights are jittered as the data's description demands (a fixed seed, within ±1/128, in float32),
so that nothing profits from their rounding to 1/64; the last line gives the figure without it.
Every search is one call of `Collection.search` in one thread, Python included.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from bench import wiki
from llvmlite.binding import get_host_cpu_name
from rich.console import Console
from rich.table import Table

from sparsegate_server import index
from sparsegate_server.index import recovery
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.ids import encode
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.segment import Details, Segment, merged
from sparsegate_server.operations import Document, SearchOptions
from sparsegate_server.types import SparseVector

_Result = TypeVar("_Result")


def timed(work: Callable[[], _Result]) -> tuple[_Result, float]:
    """What `work` returns and the seconds it took."""
    begin = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begin


@contextlib.contextmanager
def loaded(
    documents: Sequence[Document],
    *,
    batch: int,
    shards: int = 1,
    optimize: bool = False,
    vocabulary: int = wiki.VOCABULARY,
) -> Iterator[index.Collection]:
    """A collection filled by upserts of `batch` documents, once its background work is done."""
    maintenance = index.Maintenance()
    with tempfile.TemporaryDirectory(prefix="sparsegate-bench-") as work:
        folder = Path(work) / "collection"
        recovery.create(folder, index.Parameters(vocabulary, shards), {})
        collection = index.Collection(folder, maintenance=maintenance)
        for start in range(0, len(documents), batch):
            collection.upsert(documents[start : start + batch])
        if optimize:
            collection.optimize()
        while collection.busy:
            time.sleep(0.05)
        yield collection
        collection.close()
    maintenance.close()


def latency(collection: index.Collection, queries: Sequence[SparseVector], limit: int) -> list[str]:
    """Mean, p50, p95 and p99 in milliseconds, and postings a query."""
    for query in queries[:50]:
        collection.search(query, SearchOptions(limit))
    seconds = []
    postings = 0
    for query in queries:
        result, took = timed(lambda query=query: collection.search(query, SearchOptions(limit)))
        seconds.append(took)
        postings += result.postings_scored
    milliseconds = np.array(seconds) * 1e3
    return [
        f"{milliseconds.mean():.3f}",
        *(f"{np.percentile(milliseconds, each):.3f}" for each in (50, 95, 99)),
        f"{postings / len(queries):,.0f}",
    ]


def details(rows: int) -> Details:
    return Details(
        np.arange(1, rows + 1),
        np.ones(rows, np.uint64),
        np.zeros(rows, np.uint32),
        np.zeros(rows, np.uint32),
    )


def every_second(documents: Forward, first: int) -> Segment:
    """A segment of the documents `first`, `first` + 2, `first` + 4, …"""
    numbers = np.arange(len(documents))
    rows = numbers[first::2]
    destination = np.where(numbers % 2 == first, numbers // 2, -1)
    return Segment.build(
        Keys.of([encode(number) for number in rows.tolist()]),
        details(len(rows)),
        Forward.gathered([(documents, destination)], len(rows)),
        wiki.VOCABULARY,
    )


def build_table(vectors: Forward) -> Table:
    """How fast postings are made from arrays in memory."""
    documents = vectors.stored(wiki.VOCABULARY)
    keys = Keys.of([encode(number) for number in range(len(documents))])
    halves = [every_second(documents, first) for first in (0, 1)]
    ways: dict[str, Callable[[], object]] = {
        "one segment from encoded arrays": lambda: Segment.build(
            keys, details(len(keys)), documents, wiki.VOCABULARY
        ),
        "merge of two interleaved halves": lambda: merged(halves, wiki.VOCABULARY, 1),
    }
    table = Table(title=f"build of {len(documents):,} documents in memory, one thread")
    table.add_column("what")
    table.add_column("seconds", justify="right")
    table.add_column("documents/s", justify="right")
    for what, way in ways.items():
        _, seconds = timed(way)
        table.add_row(what, f"{seconds:.2f}", f"{len(documents) / seconds:,.0f}")
    return table


def search_table(documents: Sequence[Document], queries: Sequence[SparseVector]) -> Table:
    """How long a search takes, by the shape of the collection."""
    table = Table(title=f"search of {len(documents):,} documents, one thread, milliseconds")
    for column in ("collection", "k", "mean", "p50", "p95", "p99", "postings"):
        table.add_column(column, justify="left" if column == "collection" else "right")
    with loaded(documents, batch=1000, optimize=True) as one:
        for limit in (10, 100, 1000):
            table.add_row("one segment", str(limit), *latency(one, queries, limit))
    with loaded(documents, batch=100) as layered:
        shape = f"as loaded: {layered.size().segments} segments, tail of {layered.size().tail}"
        table.add_row(shape, "10", *latency(layered, queries, 10))
    with loaded(documents, batch=1000, shards=4, optimize=True) as four:
        table.add_row("four shards of one segment", "10", *latency(four, queries, 10))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="vectors.npz of wiki200k")
    parser.add_argument("--queries", type=int, default=1000, help="how many questions to time")
    chosen = parser.parse_args()
    index.warm_up()
    console = Console()
    console.print(f"{platform.platform()}, {os.cpu_count()} cores, {get_host_cpu_name()}")
    data = wiki.read(chosen.data)
    queries = data.queries[: chosen.queries]
    console.print(build_table(data.documents))
    console.print(search_table(as_documents(data.documents), queries))
    plain = as_documents(wiki.read(chosen.data, jitter=False).documents)
    with loaded(plain, batch=1000, optimize=True) as rounded:
        mean = latency(rounded, queries, 10)[0]
    console.print(f"one segment, k = 10, weights as rounded in the file: mean {mean} ms")


def as_documents(vectors: Forward) -> list[Document]:
    return [Document(row, vectors.row(row)) for row in range(len(vectors))]


if __name__ == "__main__":
    main()
