"""Text to searchable documents, end to end, beside what FastEmbed and Qdrant do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import numpy as np
from bench.pipe import Worker
from bench.report import Row
from bench.serving.stand import MODEL, ONNX, TRITON, Stand, fill

from sparsegate import SparseVector

BAR = 1
_COLLECTION = "ingest"
_PEER = "FastEmbed + Qdrant"
_ONE, _TWO = "1 process of 2 threads", "2 processes of 1 thread"
_REQUIRED = {_ONE: 4.0, _TWO: 2.0}
_MOST_ROUNDS = 2
_BATCH = 8
_LIMIT = 900.0
_SETTLING = 1.0
_TOLERANCE = 1e-3


def run(stand: Stand) -> None:
    seconds = _take_turns(stand)
    count = len(stand.documents)
    rates = {name: count / each for name, each in seconds.items()}
    note = f"{count:,} documents of SciFact" + ("" if _ONE in rates else "; no PYTHON_PEERS")
    for name in (ONNX, TRITON):
        for label, required in _REQUIRED.items():
            stand.add(
                Row(BAR, f"ingest of text, {name}", rates[name], "documents/s",
                    f"{_PEER}, {label}", rates.get(label), required, "≥", note=note)
            )  # fmt: skip


def upload(stand: Stand, name: str) -> float:
    """Seconds from the first text to the last acknowledgement, after which all can be found."""

    async def timed() -> float:
        async with stand.clients(name, 1) as (client,):
            begin = time.perf_counter()
            await fill(client, _COLLECTION, stand.documents)
            seconds = time.perf_counter() - begin
            await client.delete_collection(_COLLECTION)
            await asyncio.sleep(_SETTLING)  # what it had under way in the background ends
            return seconds

    return asyncio.run(timed())


def _take_turns(stand: Stand) -> dict[str, float]:
    """The best seconds of every contestant."""
    seconds: dict[str, float] = {}
    with ExitStack() as stack:
        jobs: dict[str, Callable[[], float]] = {
            name: partial(upload, stand, name) for name in (ONNX, TRITON)
        }
        if stand.choices.python:
            for label, processes, threads in ((_ONE, 1, 2), (_TWO, 2, 1)):
                baseline = Baseline(stand, label, processes, threads)
                stack.callback(baseline.end)
                jobs[label] = baseline.ingest
            baseline.check()
        for _ in range(min(stand.choices.rounds, _MOST_ROUNDS)):
            for name, job in jobs.items():
                seconds[name] = min(seconds.get(name, float("inf")), job())
    return seconds


class Baseline:
    """The fixed baseline, `bench/peers/fastembed.py`, in as many processes as share the documents.

    Args:
        processes: each has a shard of its own and every so many-th batch, so that none waits.
        threads: of each.
    """

    def __init__(self, stand: Stand, label: str, processes: int, threads: int) -> None:
        self._stand = stand
        self._runs = 0
        command = [str(stand.choices.python), "-m", "bench.peers.fastembed"]
        self._workers = [
            Worker(f"{_PEER}, {label}", command, quiet=False, threads=threads)
            for _ in range(processes)
        ]
        folder = stand.repository / f"{MODEL}-logits"
        graph, tokenizer = folder / "1/model.onnx", folder / "tokenizer.json"
        longest = stand.spec.identity.max_length
        for worker in self._workers:
            worker("load", str(graph), str(tokenizer), longest, threads)

    def ingest(self) -> float:
        """Seconds of the slowest process."""
        self._runs += 1
        folder = self._stand.choices.work / f"{_PEER} {len(self._workers)} {self._runs}"
        dealt = shares(self._stand.documents, len(self._workers), _BATCH)
        with ThreadPoolExecutor(len(self._workers)) as pool:
            answers = [
                pool.submit(worker, "ingest", str(folder / str(at)), share, limit=_LIMIT)
                for at, (worker, share) in enumerate(zip(self._workers, dealt, strict=True))
            ]
            return max(float(each.result()) for each in answers)

    def check(self) -> None:
        """Raises RuntimeError unless its vectors are those of our gateway."""
        texts = self._stand.documents[:_BATCH]
        terms = self._stand.spec.identity.vocabulary_size
        ours = np.zeros((len(texts), terms), np.float32)
        theirs = np.zeros_like(ours)
        for row, (ids, weights) in enumerate(self._workers[0]("vectors", texts)):
            theirs[row, ids] = weights
        for row, vector in enumerate(asyncio.run(_encode(self._stand, texts))):
            ours[row, vector.indices] = vector.values
        if (difference := float(np.abs(ours - theirs).max())) > _TOLERANCE:
            raise RuntimeError(f"the baseline's weights differ from ours by {difference:g}")

    def end(self) -> None:
        for worker in self._workers:
            worker.end()


async def _encode(stand: Stand, texts: Sequence[str]) -> list[SparseVector]:
    async with stand.clients(ONNX, 1) as (client,):
        result = await client.encode(texts, mode="document")
        return [each.vector for each in result.unwrap()]


def shares(documents: Sequence[str], number: int, batch: int) -> list[list[str]]:
    """Batches of documents, dealt out in turn."""
    dealt: list[list[str]] = [[] for _ in range(number)]
    for at, start in enumerate(range(0, len(documents), batch)):
        dealt[at % number] += documents[start : start + batch]
    return dealt
