"""Times a batch of questions beside the same questions as searches of their own.

    python -m bench.micro.batch --data DATA/vectors.npz

Everything goes through the embedded backend with encoded vectors, asyncio and its threads included:
one search after the other, all of them at once, and as one batch. The last two columns are what a
single search waits that comes just after all of them. Each figure is the best of several rounds, in
which the ways take turns; weights are jittered as the data's description demands.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from bench import wiki
from llvmlite.binding import get_host_cpu_name
from rich.console import Console
from rich.table import Table

from sparsegate_server.backends.base import CollectionConfig, Tier
from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.filters import FieldKind, Filter, Match, Range
from sparsegate_server.index.forward import Forward
from sparsegate_server.operations import Document, SearchOptions
from sparsegate_server.settings import Index
from sparsegate_server.types import SparseVector

_NAME: Final = "passages"
_UPSERT: Final = 5_000
_SINGLE: Final = SearchOptions(10)
_CASES: Final = {
    "no filter": _SINGLE,
    "one filter, 10 %, indexed": SearchOptions(10, filter=Filter(must=(Range("n", lt=100),))),
    "one filter, 0.2 %, half without an index": SearchOptions(
        10, filter=Filter(must=(Range("n", lt=4), Match("odd", (True,))))
    ),
    "IDF": SearchOptions(10, idf=True),
    "effort 0.3": SearchOptions(10, effort=0.3),
}

Searches = Sequence[tuple[SparseVector, SearchOptions]]
Way = Callable[[EmbeddedBackend, Searches], Awaitable[object]]


async def one_by_one(backend: EmbeddedBackend, searches: Searches) -> None:
    for query, options in searches:
        await backend.search(_NAME, query, options)


async def at_once(backend: EmbeddedBackend, searches: Searches) -> None:
    await asyncio.gather(*(backend.search(_NAME, *search) for search in searches))


async def together(backend: EmbeddedBackend, searches: Searches) -> None:
    await backend.search_batch(_NAME, searches)


WAYS: Final[dict[str, Way]] = {
    "one by one": one_by_one,
    "at once": at_once,
    "as a batch": together,
}


async def fill(backend: EmbeddedBackend, vectors: Forward) -> None:
    """One merged segment; the field `n` has an index, the field `odd` has none."""
    await backend.create_collection(CollectionConfig(_NAME, Tier("", "", wiki.VOCABULARY)))
    for start in range(0, len(vectors), _UPSERT):
        rows = range(start, min(start + _UPSERT, len(vectors)))
        await backend.upsert(
            _NAME,
            [
                Document(row, vectors.row(row), None, {"n": row % 1000, "odd": row % 2 == 1})
                for row in rows
            ],
        )
    await backend.create_payload_index(_NAME, "n", FieldKind.NUMBER)
    await backend.optimize(_NAME)


async def seconds_of(way: Way, backend: EmbeddedBackend, searches: Searches) -> float:
    begin = time.perf_counter()
    await way(backend, searches)
    return time.perf_counter() - begin


async def seconds_beside(way: Way, backend: EmbeddedBackend, searches: Searches) -> float:
    """Of a single search that comes when all the others have just been asked."""
    others = asyncio.ensure_future(way(backend, searches))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    begin = time.perf_counter()
    await backend.search(_NAME, searches[0][0], _SINGLE)
    waited = time.perf_counter() - begin
    await others
    return waited


async def rows_of(
    backend: EmbeddedBackend, questions: Sequence[SparseVector], rounds: int
) -> list[tuple[str, list[str]]]:
    """Searches a second by each way, and milliseconds of a single search beside the last two."""
    rows = []
    for case, options in _CASES.items():
        searches = [(question, options) for question in questions]
        seconds = dict.fromkeys(WAYS, float("inf"))
        beside = dict.fromkeys(("at once", "as a batch"), float("inf"))
        for _ in range(rounds):
            for name, way in WAYS.items():
                seconds[name] = min(seconds[name], await seconds_of(way, backend, searches))
            for name in beside:
                waited = await seconds_beside(WAYS[name], backend, searches)
                beside[name] = min(beside[name], waited)
        rates = [f"{len(searches) / each:,.0f}" for each in seconds.values()]
        rows.append((case, rates + [f"{each * 1e3:.1f}" for each in beside.values()]))
    return rows


async def measured(data: Path, *, questions: int, rounds: int, threads: int) -> Table:
    read = wiki.read(data)
    vectors = read.documents
    with tempfile.TemporaryDirectory(prefix="sparsegate-bench-") as folder:
        settings = Index(folder=Path(folder), threads=threads, max_unindexed_documents=len(vectors))
        backend = EmbeddedBackend(settings)
        await backend.start()
        try:
            await fill(backend, vectors)
            rows = await rows_of(backend, read.queries[:questions], rounds)
        finally:
            await backend.close()
    table = Table(title=f"{questions} questions, {len(vectors):,} documents, {threads} threads")
    table.add_column("searches a second")
    for heading in (*WAYS, "ms beside: at once", "a batch"):
        table.add_column(heading, justify="right")
    for case, figures in rows:
        table.add_row(case, *figures)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="vectors.npz of wiki200k")
    parser.add_argument("--questions", type=int, default=256, help="how many a batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    console = Console()
    console.print(f"{platform.platform()}, {os.cpu_count()} cores, {get_host_cpu_name()}")
    work = measured(
        chosen.data, questions=chosen.questions, rounds=chosen.rounds, threads=chosen.threads
    )
    console.print(asyncio.run(work))


if __name__ == "__main__":
    main()
