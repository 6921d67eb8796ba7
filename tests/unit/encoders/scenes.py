"""A batcher before a backend that holds every batch back until a test lets it go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.encoders.base import NOBODY, Caller, EncodeTimings
from sparsegate_server.encoders.batcher import Batcher, Places
from sparsegate_server.encoders.batching import BatchRules, Outputs, ServedGraph
from sparsegate_server.errors import InferenceFailed
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.spec import ModelIdentity, ModelSpec
from sparsegate_server.telemetry.metrics import Metrics

SPEC = ModelSpec("tiny", ModelIdentity("splade", "", "", 30522))
POISON = 666


@dataclass
class Held:
    """Batches stay at work until they are let go; each text comes back as its first token."""

    name: str = "held"
    batches: list[TokenBatch] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)
    error: Exception | None = None
    cancelled: int = 0
    _gates: list[asyncio.Event] = field(default_factory=list)

    async def infer(
        self,
        spec: ModelSpec,  # noqa: ARG002
        batch: TokenBatch,
        *,
        timeout: float | None = None,
    ) -> Mapping[str, NDArray[np.generic]]:
        gate = asyncio.Event()
        self.batches.append(batch)
        self.timeouts.append(timeout)
        self._gates.append(gate)
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        if POISON in batch.input_ids:
            raise InferenceFailed("cannot digest it")
        return {"first": batch.input_ids[:, 0]}

    @property
    def contents(self) -> list[list[int]]:
        """The first tokens of each batch, in the order of coming."""
        return [sorted(batch.input_ids[:, 0].tolist()) for batch in self.batches]

    async def let_go(self, count: int = 1) -> None:
        """Lets the oldest batches end that have not."""
        waiting = [gate for gate in self._gates if not gate.is_set()]
        for gate in waiting[:count]:
            gate.set()
        await settle()

    async def come(self, texts: list[int], seconds: float = 10.0) -> None:
        """Returns when a batch of these texts has come, by itself."""
        for _ in range(int(seconds / 0.01)):
            if texts in self.contents:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{texts} never came: {self.contents}")

    async def let_all_go(self) -> None:
        while any(not gate.is_set() for gate in self._gates):
            await self.let_go(1000)

    async def ready(self, spec: ModelSpec) -> bool:  # noqa: ARG002
        return True

    async def close(self) -> None:
        return None


async def first_tokens(outputs: Outputs, batch: TokenBatch) -> list[int]:
    return [int(each) for each in outputs["first"]]


class Scene:
    """One batcher before a backend that holds everything back."""

    def __init__(
        self, places: Places, most: int = 10_000, texts: int = 4, quiet_tokens: int = 0
    ) -> None:
        self.backend = Held()
        self.metrics = Metrics()
        rules = BatchRules(texts, 4096, step=0, overhead=0, quiet_tokens=quiet_tokens)
        self.batcher = Batcher(self.backend, rules, rules, places, most, self.metrics)
        self.graph = ServedGraph(SPEC, first_tokens)
        self._tasks: list[asyncio.Task[list[object]]] = []

    def ask(
        self,
        *texts: int,
        urgent: bool = False,
        caller: Caller = NOBODY,
        tokens: int = 10,
        timings: EncodeTimings | None = None,
    ) -> asyncio.Task[list[object]]:
        """Sends texts of so many tokens, told apart by their first one."""
        rows = [np.array([text, *[1] * (tokens - 1)], np.int32) for text in texts]
        timings = timings or EncodeTimings()
        run = self.batcher.run(self.graph, rows, urgent=urgent, caller=caller, timings=timings)
        task = asyncio.create_task(run)
        self._tasks.append(task)
        return task

    def waiting(self, lane: str = "bulk") -> float:
        return self.metrics.registry.get_sample_value("sparsegate_waiting_tokens", {"lane": lane})

    def dropped(self, reason: str, lane: str = "bulk") -> float:
        labels = {"lane": lane, "reason": reason}
        return self.metrics.registry.get_sample_value("sparsegate_dropped_texts_total", labels) or 0

    async def end(self) -> None:
        await self.backend.let_all_go()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def scene(
    queries: int = 1, bulk: int = 1, kept: int = 0, rest: float = 0.0, **options: int
) -> AsyncIterator[Scene]:
    stage = Scene(Places(queries, bulk, kept, rest), **options)
    yield stage
    await stage.end()


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def within(seconds: float) -> Caller:
    return Caller(deadline=asyncio.get_running_loop().time() + seconds)
