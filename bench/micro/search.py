"""Times the embedded engine on encoded vectors: build, merge, search.

    python bench/micro/search.py --data wiki200k/vectors.npz

Weights are jittered as the data's description demands (a fixed seed, within ±1/128, in float32),
so that nothing profits from their rounding to 1/64; the last line gives the figure without it.
Every search is one call of `Collection.search` in one thread, Python included.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from llvmlite.binding import get_host_cpu_name
from rich.console import Console
from rich.table import Table

from sparsegate_server import index
from sparsegate_server.index.forward import Forward, indptr_of
from sparsegate_server.index.ids import encode
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.segment import Segment, merged
from sparsegate_server.types import SparseVector

VOCABULARY = 30_522
JITTER_SEED = 20_240_601
RECORD = index.Record(None, {})
_Result = TypeVar("_Result")


class Data(NamedTuple):
    documents: Forward
    queries: list[SparseVector]


def read(path: Path, *, jitter: bool) -> Data:
    """Documents and queries of a `vectors.npz` (see the README beside it)."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    indptr = indptr_of(arrays["doc_lengths"].astype(np.int64))
    high = arrays["doc_index_deltas_hi"].astype(np.int64) << 8
    sums = np.cumsum(arrays["doc_index_deltas_lo"].astype(np.int64) | high)
    before = np.concatenate([[0], sums])[indptr[:-1]]
    terms = (sums - np.repeat(before, np.diff(indptr))).astype(np.uint32)
    weights = arrays["doc_weights_u8"].astype(np.float32) / 64
    if jitter:
        noise = np.random.default_rng(JITTER_SEED).uniform(-1 / 128, 1 / 128, len(weights))
        weights = (weights + noise).astype(np.float32)
    queries = Forward(
        indptr_of(arrays["query_lengths"].astype(np.int64)),
        arrays["query_indices"].astype(np.uint32),
        arrays["query_weights"],
    )
    return Data(Forward(indptr, terms, weights), [queries.row(row) for row in range(len(queries))])


def timed(work: Callable[[], _Result]) -> tuple[_Result, float]:
    """What `work` returns and the seconds it took."""
    begin = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begin


def entries(documents: Forward) -> list[index.Entry]:
    return [index.Entry(row, documents.row(row), RECORD) for row in range(len(documents))]


def load(
    documents: Sequence[index.Entry], *, batch: int, tail: int, shards: int = 1
) -> index.Collection:
    """A collection filled by upserts of `batch` documents."""
    collection = index.Collection(VOCABULARY, shards=shards, tail_documents=tail)
    for start in range(0, len(documents), batch):
        collection.upsert(documents[start : start + batch])
    return collection


def latency(collection: index.Collection, queries: Sequence[SparseVector], limit: int) -> list[str]:
    """Mean, p50, p95 and p99 in milliseconds, and postings a query."""
    for query in queries[:50]:
        collection.search(query, limit)
    seconds = []
    postings = 0
    for query in queries:
        ranking, took = timed(lambda query=query: collection.search(query, limit))
        seconds.append(took)
        postings += ranking.postings_scored
    milliseconds = np.array(seconds) * 1e3
    return [
        f"{milliseconds.mean():.3f}",
        *(f"{np.percentile(milliseconds, each):.3f}" for each in (50, 95, 99)),
        f"{postings / len(queries):,.0f}",
    ]


def every_second(documents: Forward, first: int) -> Segment:
    """A segment of the documents `first`, `first` + 2, `first` + 4, …"""
    numbers = np.arange(len(documents))
    rows = numbers[first::2]
    destination = np.where(numbers % 2 == first, numbers // 2, -1)
    return Segment.build(
        Keys.of([encode(number) for number in rows.tolist()]),
        [RECORD] * len(rows),
        Forward.gathered([(documents, destination)], len(rows)),
        np.ones(len(rows), np.uint64),
        VOCABULARY,
    )


def build_table(documents: Forward, whole: Sequence[index.Entry], tail: int) -> Table:
    """How fast postings are made, in the ways that they are."""
    keys = Keys.of([encode(number) for number in range(len(documents))])
    born = np.ones(len(documents), np.uint64)
    records = [RECORD] * len(documents)
    halves = [every_second(documents, first) for first in (0, 1)]
    ways: dict[str, Callable[[], object]] = {
        "one segment from encoded arrays": lambda: Segment.build(
            keys, records, documents, born, VOCABULARY
        ),
        "merge of two interleaved halves": lambda: merged(halves, VOCABULARY),
        "upserts of 1000, seals and merges included": lambda: load(whole, batch=1000, tail=tail),
        "upserts of 100, seals and merges included": lambda: load(whole, batch=100, tail=tail),
    }
    table = Table(title=f"build of {len(documents):,} documents, one thread")
    table.add_column("what")
    table.add_column("seconds", justify="right")
    table.add_column("documents/s", justify="right")
    for what, way in ways.items():
        _, seconds = timed(way)
        table.add_row(what, f"{seconds:.2f}", f"{len(documents) / seconds:,.0f}")
    return table


def search_table(data: Data, whole: Sequence[index.Entry], tail: int, queries: int) -> Table:
    """How long a search takes, by the shape of the collection."""
    table = Table(title=f"search of {len(whole):,} documents, one thread, milliseconds")
    for column in ("collection", "k", "mean", "p50", "p95", "p99", "postings"):
        table.add_column(column, justify="left" if column == "collection" else "right")
    asked = data.queries[:queries]
    one = load(whole, batch=len(whole), tail=tail)
    for limit in (10, 100, 1000):
        table.add_row("one segment", str(limit), *latency(one, asked, limit))
    loaded = load(whole, batch=100, tail=tail)
    shape = f"upserts of 100: {loaded.size().segments} segments and a tail"
    table.add_row(shape, "10", *latency(loaded, asked, 10))
    four = load(whole, batch=len(whole), tail=tail, shards=4)
    table.add_row("four shards of one segment", "10", *latency(four, asked, 10))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="vectors.npz of wiki200k")
    parser.add_argument("--queries", type=int, default=1000, help="how many questions to time")
    parser.add_argument("--tail", type=int, default=1024, help="tail_documents")
    chosen = parser.parse_args()
    index.warm_up()
    console = Console()
    console.print(f"{platform.platform()}, {os.cpu_count()} cores, {get_host_cpu_name()}")
    data = read(chosen.data, jitter=True)
    whole = entries(data.documents)
    console.print(build_table(data.documents, whole, chosen.tail))
    console.print(search_table(data, whole, chosen.tail, chosen.queries))
    plain = entries(read(chosen.data, jitter=False).documents)
    rounded = load(plain, batch=len(plain), tail=chosen.tail)
    mean = latency(rounded, data.queries[: chosen.queries], 10)[0]
    console.print(f"one segment, k = 10, weights as rounded in the file: mean {mean} ms")


if __name__ == "__main__":
    main()
