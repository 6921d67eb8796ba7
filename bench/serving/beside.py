"""Queries with a bulk ingest running beside them, and without."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

from bench.report import Row
from bench.serving.load import Call, Load, arrivals, open_loop
from bench.serving.rounds import closed_in_turns, in_turns
from bench.serving.stand import ONNX, TRITON, Stand

BAR = 5
_CLIENTS = 8
_SHARE = 0.25
"""Of what the queries alone can have at saturation: the rest is for the ingest."""

_REQUIRED = 2.0
_COLLECTION = "bulk"
_LENGTHENED = 2
"""A p99 takes more queries than a p50."""

_SETTLING = 2.0
_SOON = 0.5
_ALONE, _BESIDE = "alone", "beside"


def run(stand: Stand) -> None:
    for name in (ONNX, TRITON):
        asyncio.run(_measure(stand, name))


async def _measure(stand: Stand, name: str) -> None:
    seconds, rounds = stand.choices.seconds, stand.choices.rounds
    ingested: list[float] = []
    async with stand.searching(name, _CLIENTS) as calls:
        (most,) = (await closed_in_turns({name: calls}, stand.questions, seconds, 1)).values()
        queries = Queries(calls, stand.questions, _SHARE * most.rate)

        async def run(job: str, load: Load, number: int) -> None:
            come = partial(queries.come, _LENGTHENED * seconds, number, load)
            if job == _ALONE:
                await come()
            else:
                ingested.append(await _beside(stand, name, queries, come))

        loads = await in_turns((_ALONE, _BESIDE), rounds, run)
    alone, beside = loads[_ALONE], loads[_BESIDE]
    note = (
        f"{queries.rate:.0f} queries/s, open loop, beside {mean(ingested):.0f} documents/s;"
        f" {beside.described()}; without: {alone.described()}"
    )
    stand.add(
        Row(BAR, f"Search beside an ingest, {name}: p99", beside.percentile(99), "ms",
            "without the ingest", alone.percentile(99), _REQUIRED, note=note)
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Queries:
    """An open loop of questions.

    Attributes:
        rate: of a second.
    """

    calls: Sequence[Call]
    feed: Iterator[str]
    rate: float

    async def come(self, seconds: float, seed: int, load: Load) -> None:
        await open_loop(self.calls, self.feed, arrivals(self.rate, seconds, seed), load)


async def _beside(
    stand: Stand, name: str, queries: Queries, come: Callable[[], Awaitable[None]]
) -> float:
    """Has the queries that count come while an ingest is at work.

    Returns:
        Documents acknowledged a second meanwhile.
    """
    async with stand.clients(name, 1) as (client,):
        await client.create_collection(_COLLECTION)
        with Bulk(stand, name) as bulk:
            at_work = asyncio.create_task(asyncio.to_thread(bulk.wait))
            while not at_work.done():
                # The service has seen queries when the ingest begins.
                await queries.come(_SOON, 0, Load())
            await at_work
            begin, before = time.perf_counter(), bulk.acknowledged
            await come()
            rate = (bulk.acknowledged - before) / (time.perf_counter() - begin)
        await client.delete_collection(_COLLECTION)
    await asyncio.sleep(_SETTLING)
    return rate


class Bulk:
    """An upload that goes on for as long as the context.

    Attributes:
        acknowledged: documents so far.
    """

    def __init__(self, stand: Stand, name: str) -> None:
        self._address = stand.gateway(name).address
        self._file = stand.choices.work / "bulk.json"
        if not self._file.exists():
            self._file.write_text(json.dumps(stand.documents))
        self.acknowledged = 0
        self._first = threading.Event()

    def wait(self) -> None:
        """Until the first batch is acknowledged.

        Raises:
            RuntimeError: the upload ended before.
        """
        self._first.wait()
        if not self.acknowledged:
            raise RuntimeError("the upload ended before any document was acknowledged")

    def __enter__(self) -> Bulk:
        root = Path(__file__).resolve().parents[2]
        command = [sys.executable, "-m", "bench.serving.bulk"]
        self._process = subprocess.Popen(
            [*command, self._address, _COLLECTION, str(self._file)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                self.acknowledged = int(line)
                self._first.set()
        self._first.set()
