"""Durable writes, reopening, and searches beside merges, next to Qdrant's engine in process.

    python -m bench.macro.durability --data wiki200k/vectors.npz --qdrant QDRANT_ENV/bin/python

Without --qdrant only our own figures are taken. QDRANT_ENV is an environment of its own with
`numpy` and `qdrant-edge-py==0.9.0`. Both engines get the same vectors and the same payloads of
about 200 bytes, hand each batch to the disk before it counts as written (we commit, Qdrant flushes
its log), run in one thread each, and take turns. Read the ratios: the disk below a virtual machine
may answer a flush from its cache.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench import wiki
from llvmlite.binding import get_host_cpu_name
from rich.console import Console
from rich.table import Table

from sparsegate_server import app, index
from sparsegate_server.index import recovery
from sparsegate_server.operations import Document, SearchOptions

ROUNDS = 10
LOADS = 5
SMALL, LARGE = 100, 1000
UNSEALED = 5_000
console = Console()


class Ours:
    def __init__(self, folder: Path, documents: list[Document]) -> None:
        self.folder = folder
        self.documents = documents
        self.maintenance = index.Maintenance()
        recovery.create(folder, index.Parameters(wiki.VOCABULARY), {})
        self.open()

    def open(self) -> None:
        self.collection = index.Collection(self.folder, maintenance=self.maintenance)

    def upsert(self, first: int, last: int, batch: int) -> list[float]:
        seconds = []
        for start in range(first, last, batch):
            documents = self.documents[start : min(start + batch, last)]
            begin = time.perf_counter()
            self.collection.upsert(documents)
            seconds.append(time.perf_counter() - begin)
        return seconds

    def close(self) -> None:
        self.collection.close()
        self.maintenance.close()

    def settle(self) -> None:
        while self.collection.busy:
            time.sleep(0.05)


class Qdrant:
    """The peer's process."""

    def __init__(self, python: Path, data: Path, folder: Path) -> None:
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).parents[1] / "peers/qdrant.py"), data, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, call: str, **arguments: object) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps({"call": call, **arguments}), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def upserts(ours: Ours, qdrant: Qdrant | None, documents: int) -> None:
    """Small durable upserts, in turns."""
    table = Table(title=f"durable upserts of {SMALL} documents, {documents:,} in {ROUNDS} turns")
    for column in ("engine", "documents/s", "ack p50 ms", "ack p99 ms"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    mine: list[float] = []
    theirs: list[float] = []
    step = documents // ROUNDS
    for start in range(0, documents, step):
        mine += ours.upsert(start, start + step, SMALL)
        if qdrant:
            theirs += qdrant("upsert", first=start, last=start + step, batch=SMALL, flush=True)
    for name, seconds in (("sparsegate", mine), ("qdrant-edge, flushed", theirs)):
        if seconds:
            table.add_row(name, f"{documents / sum(seconds):,.0f}", *percentiles(seconds, (50, 99)))
    console.print(table)


def bulk(ours: Callable[[], Ours], qdrant: Callable[[], Qdrant] | None, documents: int) -> None:
    """A durable bulk load into a new collection, and whether it slows down as that grows."""
    table = Table(
        title=f"durable bulk load in batches of {LARGE}, {documents:,} documents,"
        f" median of {LOADS} loads (least, most)"
    )
    for column in ("engine", "documents/s", "last tenth ÷ first tenth", "ack p99 ms"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    loads: dict[str, list[list[float]]] = {"sparsegate": [], "qdrant-edge, flushed": []}
    for _ in range(LOADS):
        with contextlib.closing(ours()) as mine:
            loads["sparsegate"].append(mine.upsert(0, documents, LARGE))
        if qdrant:
            peer = qdrant()
            seconds = peer("upsert", first=0, last=documents, batch=LARGE, flush=True)
            loads["qdrant-edge, flushed"].append(seconds)
            peer.end()
    for name, runs in loads.items():
        if runs:
            table.add_row(
                name,
                spread([documents / sum(run) for run in runs], ",.0f"),
                spread([last_over_first(run) for run in runs], ".2f"),
                spread([1e3 * float(np.percentile(run, 99)) for run in runs], ".0f"),
            )
    console.print(table)


def last_over_first(seconds: Sequence[float]) -> float:
    """Throughput of the last tenth of a load against that of the first."""
    tenth = max(1, len(seconds) // 10)
    return sum(seconds[:tenth]) / sum(seconds[-tenth:])


def spread(values: Sequence[float], form: str) -> str:
    low, middle, high = min(values), float(np.median(values)), max(values)
    return f"{middle:{form}} ({low:{form}}, {high:{form}})"


def reopening(ours: Ours, qdrant: Qdrant | None, restart: Callable[[], Qdrant], query: Any) -> None:
    """Seconds from opening to the first answer, files in the page cache."""
    table = Table(
        title=f"reopen to the first answer, {ours.collection.size().documents:,} documents"
    )
    for column in ("engine", "after a clean stop ms", "after kill -9 ms", "new process ms"):
        table.add_column(column, justify="left" if column == "engine" else "right")

    def answer() -> float:
        begin = time.perf_counter()
        ours.open()
        ours.collection.search(query, SearchOptions(10))
        return time.perf_counter() - begin

    ours.collection.close()
    clean = answer()
    ours.collection.close()
    kill_while_writing(ours.folder)
    killed = answer()
    unsealed = ours.collection.size().tail
    ours.collection.close()
    begin = time.perf_counter()
    child(ours.folder, "--answer").wait()
    process = time.perf_counter() - begin
    ours.open()
    table.add_row("sparsegate", *(f"{1e3 * each:.0f}" for each in (clean, killed, process)))
    if qdrant:
        qdrant("close")
        clean = qdrant("reopen")
        qdrant.kill()
        again = restart()
        killed = again("reopen")
        again.end()
        table.add_row("qdrant-edge", f"{1e3 * clean:.0f}", f"{1e3 * killed:.0f}", "")
    console.print(table)
    console.print(
        f"sparsegate was killed with {unsealed:,} documents not sealed yet; `new process` counts"
        " from its start, imports and the loading of kernels included"
    )


def searching(ours: Ours, queries: Sequence[Any]) -> None:
    """Searches of one thread, alone and beside background work."""
    table = Table(title="searches for k = 10, one thread, milliseconds")
    for column in ("beside", "searches", "mean", "p50", "p95", "p99", "p99 ÷ idle"):
        table.add_column(column, justify="left" if column == "beside" else "right")
    ours.settle()
    timed(ours, queries[:100])
    idle = timed(ours, queries)
    merging: list[float] = []
    for number in range(3):
        ours.collection.delete([number])  # a dead document makes the next merge rewrite all
        with beside(ours.collection.optimize) as running:
            while running():
                merging += timed(ours, queries[:50])
    loading: list[float] = []
    with beside(lambda: ours.upsert(0, len(ours.documents) // 2, LARGE)) as running:
        while running():
            loading += timed(ours, queries[:50])
    for name, seconds in (("nothing", idle), ("a merge of all", merging), ("a load", loading)):
        ratio = np.percentile(seconds, 99) / np.percentile(idle, 99)
        table.add_row(
            name,
            f"{len(seconds):,}",
            f"{1e3 * np.mean(seconds):.2f}",
            *percentiles(seconds, (50, 95, 99)),
            f"{ratio:.2f}",
        )
    console.print(table)


def timed(ours: Ours, queries: Sequence[Any]) -> list[float]:
    seconds = []
    for query in queries:
        begin = time.perf_counter()
        ours.collection.search(query, SearchOptions(10))
        seconds.append(time.perf_counter() - begin)
    return seconds


@contextlib.contextmanager
def beside(work: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Runs `work` in a thread; the context's value tells whether it still does."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread.is_alive
    finally:
        thread.join()


def percentiles(seconds: Sequence[float], shares: Sequence[int]) -> list[str]:
    return [f"{1e3 * np.percentile(seconds, share):.2f}" for share in shares]


def child(folder: Path, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.macro.durability", what, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_while_writing(folder: Path) -> None:
    """Has a process write documents that it does not seal, and kills it."""
    process = child(folder, "--write")
    assert process.stdout
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()


def write_and_wait(folder: Path) -> None:
    collection = index.Collection(folder, index.Tuning(tail_documents=2 * UNSEALED))
    found = collection.scroll(None, UNSEALED)
    documents = [
        Document(each.id, each.vector, None, each.payload)
        for each in found.documents
        if each.vector is not None
    ]
    for start in range(0, len(documents), LARGE):
        collection.upsert(documents[start : start + LARGE])
    print("written", flush=True)
    time.sleep(60)


def first_answer(folder: Path) -> None:
    collection = index.Collection(folder)
    (document,) = collection.scroll(None, 1).documents
    assert document.vector is not None
    assert collection.search(document.vector, SearchOptions(10)).hits
    os._exit(0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="vectors.npz of wiki200k")
    parser.add_argument("--qdrant", type=Path, help="Python of an environment with qdrant-edge-py")
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--upserts", type=int, default=20_000, help="of them in batches of 100")
    parser.add_argument("--folder", type=Path, help="where to write; default: the temporary folder")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if not (chosen.data or chosen.write or chosen.answer):
        parser.error("--data is needed")
    return chosen


def main() -> None:
    chosen = parse()
    if chosen.write:
        return write_and_wait(chosen.write)
    if chosen.answer:
        return first_answer(chosen.answer)
    sys.setswitchinterval(app.SWITCH_SECONDS)  # as the gateway does
    console.print(f"{platform.platform()}, {os.cpu_count()} cores, {get_host_cpu_name()}")
    index.warm_up()
    data = wiki.read(chosen.data)
    vectors = data.documents
    documents = [
        Document(number, vectors.row(number), None, wiki.payload(number))
        for number in range(min(chosen.documents, len(vectors)))
    ]
    # The documents to write are the benchmark's own: a collection of garbage need not look at them.
    gc.collect()
    gc.freeze()
    work = Path(tempfile.mkdtemp(prefix="sparsegate-bench-", dir=chosen.folder))
    try:
        run(chosen, work, documents, data)
    finally:
        shutil.rmtree(work)
    return None


def run(chosen: argparse.Namespace, work: Path, documents: list[Document], data: wiki.Data) -> None:
    query = data.queries[0]
    fresh = (work / f"collection-{number}" for number in itertools.count())

    def new_ours() -> Ours:
        return Ours(next(fresh), documents)

    def start(folder: Path) -> Qdrant:
        return Qdrant(chosen.qdrant, work / "data.npz", folder)

    def new_qdrant(folder: Path | None = None) -> Qdrant:
        peer = start(folder or next(fresh))
        peer("create")
        return peer

    if chosen.qdrant:
        np.savez(
            work / "data.npz",
            indptr=data.documents.indptr,
            terms=data.documents.terms,
            weights=data.documents.weights,
            query_terms=query.indices,
            query_weights=query.values,
        )
    bulk(new_ours, new_qdrant if chosen.qdrant else None, len(documents))
    ours = new_ours()
    folder = next(fresh)
    qdrant = new_qdrant(folder) if chosen.qdrant else None
    done = min(chosen.upserts, len(documents))
    upserts(ours, qdrant, done)
    ours.upsert(done, len(documents), LARGE)
    if qdrant:
        qdrant("upsert", first=done, last=len(documents), batch=LARGE, flush=True)
    ours.settle()
    reopening(ours, qdrant, lambda: start(folder), query)
    searching(ours, data.queries[:1000])
    ours.close()


if __name__ == "__main__":
    main()
