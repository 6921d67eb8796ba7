"""One queue before the inference backend for all requests of the process, whoever sent them.

run(graph, texts) ──▶ Backlog of its lane ──▶ a place frees up ──▶ the next batch ──▶ infer
      ▲                queries │ bulk          what cannot be in time is dropped         │
      └──────────────── one result a text, when its last batch is back ◀───── decode ────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.encoders.backlog import Backlog, Item
from sparsegate_server.encoders.base import Caller, EncodeTimings
from sparsegate_server.encoders.batching import BatchRules, ServedGraph, pad
from sparsegate_server.encoders.pace import Pace
from sparsegate_server.errors import DeadlineExceeded, InferenceFailed, Overloaded
from sparsegate_server.inference.base import InferenceBackend
from sparsegate_server.telemetry.metrics import Metrics

_SHORTEST_RETRY = 0.05
_QUIET_SECONDS = 1.0
"""So long after the last query, bulk yields to nobody any more."""

_OVERDUE_SECONDS, _OVERDUE_TIMES = 1.0, 8.0
"""A batch that has been under way for so long, and for so many times what its like take, hangs: its
model or its server does, and nobody else's batch shall wait for its place."""

_LONGEST_PAUSE = 0.25
"""Seconds between two batches of bulk at most, whatever queries come."""


@dataclass(frozen=True, slots=True)
class Places:
    """Batches that run side by side.

    Attributes:
        queries: of queries.
        bulk: of bulk, while no query comes.
        kept: places of bulk that stay empty while queries come, besides one for each batch of
            queries that runs.
        rest: how long bulk pauses after a batch on a processor during which a query came, in times
            of what the batch took: those that came meanwhile have the cores for themselves then. No
            pause is longer than a quarter of a second.
    """

    queries: int
    bulk: int
    kept: int
    rest: float = 0.0


class Batcher:
    """Forms batches of whatever waits, as soon as there is a place for one.

    Queries have places of their own, so that they never wait for bulk; within a lane clients take
    turns (see `Backlog`). Belongs to one event loop.

    Args:
        backend: runs the batches.
        queries, bulk: what one batch of each may hold.
        places: how many run side by side.
        max_waiting_tokens: most tokens that may wait, in each lane.
    """

    def __init__(
        self,
        backend: InferenceBackend,
        queries: BatchRules,
        bulk: BatchRules,
        places: Places,
        max_waiting_tokens: int,
        metrics: Metrics,
    ) -> None:
        self._backend = backend
        self._places = places
        self._most = max_waiting_tokens
        self._metrics = metrics
        self._pace = Pace()
        self._queries = _Lane("query", Backlog(queries))
        self._bulk = _Lane("bulk", Backlog(bulk))
        for lane in (self._queries, self._bulk):
            metrics.waiting_tokens.labels(lane.name).set_function(lane.waiting)
        self._last_query = -float("inf")
        self._last_bulk = -float("inf")
        self._rest_until = -float("inf")
        self._woken = False
        self._resumption: asyncio.TimerHandle | None = None

    async def run(
        self,
        graph: ServedGraph,
        rows: Sequence[NDArray[np.int32]],
        *,
        urgent: bool,
        caller: Caller,
        timings: EncodeTimings,
    ) -> list[Any]:
        """Runs texts through a graph, in batches that are shared with others.

        Args:
            rows: token ids int32 [n] of each text.
            urgent: whether they are queries.
            timings: `queue`, `infer` and `batches` are added to.

        Returns:
            For each text, in order, what the graph's `decode` made of it, or an InferenceFailed
            where the graph failed on that text even alone.

        Raises:
            Overloaded: too much waits already; nothing was queued. `retry_after` estimates when
                the lane will be empty, and is None where these texts alone are too much.
            DeadlineExceeded: the caller's deadline passed, or a batch could not have met it.
            InferenceUnavailable, ModelNotFound and the like, as the backend does.
        """
        if not rows:
            return []
        lane = self._queries if urgent else self._bulk
        request = _Request(caller, timings, [None] * len(rows), _now())
        request.items = [Item(graph, ids, request, at) for at, ids in enumerate(rows)]
        self._admit(lane, request)
        if urgent:
            self._last_query = request.asked
        lane.backlog.enter(caller.client, request.items)
        self._wake()
        try:
            async with asyncio.timeout_at(caller.deadline):
                await request.over.wait()
        except TimeoutError:
            self._dropped(lane, "deadline", request)
            late = "the deadline passed while the text waited for inference"
            raise DeadlineExceeded(late) from None
        except asyncio.CancelledError:
            self._dropped(lane, "cancelled", request)
            raise
        finally:
            request.over.set()
            self._part_from(lane, request)
        if request.error is not None:
            raise request.error
        return request.results

    def _admit(self, lane: _Lane, request: _Request) -> None:
        """Checks that all texts of a request fit, before any work is spent."""
        deadline = request.caller.deadline
        if deadline is not None and deadline <= request.asked:
            self._dropped(lane, "deadline", request)
            raise DeadlineExceeded("the deadline passed before the text came to inference")
        waiting = lane.backlog.tokens
        sent = sum(item.tokens for item in request.items)
        if waiting + sent <= self._most:
            return
        self._dropped(lane, "overloaded", request)
        if sent > self._most:
            raise Overloaded(
                f"the texts have {sent} tokens together, more than the {self._most} that may wait "
                "for inference (inference.max_waiting_tokens): send fewer at a time"
            )
        usual = self._pace.usual(request.items[0].graph, waiting)
        raise Overloaded(
            f"{waiting} tokens are waiting for inference: retry later or send less",
            # Bulk may have no place at all for the moment, but gets one soon.
            retry_after=max(_SHORTEST_RETRY, usual / max(1, self._allowed(lane))),
        )

    def _part_from(self, lane: _Lane, request: _Request) -> None:
        """Takes what is left of a request out of the queue, and ends batches that nobody wants."""
        lane.backlog.leave(request.caller.client, request.items)
        for batch in request.batches:
            if all(item.owner.over.is_set() for item in batch.items):
                batch.task.cancel()

    def _wake(self) -> None:
        """Forms batches in the next step of the loop, so that all that comes in this one share."""
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._fill)

    def _fill(self) -> None:
        """Gives the free places to what waits."""
        self._woken = False
        for lane in (self._queries, self._bulk):
            while lane.running < self._allowed(lane) and (items := self._next(lane)):
                self._start(lane, items)
        self._see_to_bulk()

    def _see_to_bulk(self) -> None:
        """Has bulk that pauses looked at again. Where all clients wait for their documents, nothing
        else would come that wakes the queue."""
        if self._resumption is not None:
            self._resumption.cancel()
            self._resumption = None
        if self._bulk.backlog.tokens and not self._bulk.running:
            pause = self._last_bulk + _LONGEST_PAUSE - _now()
            if self._resting():
                pause = min(pause, self._rest_until - _now())
            loop = asyncio.get_running_loop()
            self._resumption = loop.call_later(max(0.0, pause), self._wake)

    def _allowed(self, lane: _Lane) -> int:
        if lane is self._queries:
            return self._places.queries
        if self._quiet():
            return self._places.bulk
        left = self._places.bulk - self._places.kept - self._queries.running
        if self._resting():
            left = 0
        # However many queries come, bulk goes on.
        return max(left, int(_now() - self._last_bulk >= _LONGEST_PAUSE))

    def _resting(self) -> bool:
        return _now() < self._rest_until

    def _quiet(self) -> bool:
        """Whether no query came lately."""
        return _now() - self._last_query > _QUIET_SECONDS

    def _next(self, lane: _Lane) -> list[Item]:
        """The next batch without what cannot be in time; empty when nothing waits."""
        while items := lane.backlog.take(quiet=self._quiet()):
            tokens = len(items) * _length(items)
            now = _now()
            back = now + self._pace.least(items[0].graph, tokens, now)
            for request in {item.owner for item in items}:
                deadline = request.caller.deadline
                if deadline is not None and deadline < back and not request.over.is_set():
                    self._dropped(lane, "deadline", request)
                    request.fail(DeadlineExceeded("the deadline leaves no time for inference"))
            if items := [item for item in items if not item.owner.over.is_set()]:
                return items
        return []

    def _start(self, lane: _Lane, items: list[Item]) -> None:
        lane.running += 1
        if lane is self._bulk:
            self._last_bulk = _now()
        batch = _Batch(items, _now())
        usual = self._pace.usual(items[0].graph, len(items) * _length(items))
        patience = max(_OVERDUE_SECONDS, _OVERDUE_TIMES * usual)
        loop = asyncio.get_running_loop()
        batch.overdue = loop.call_later(patience, self._give_place, lane, batch)
        for item in items:
            item.owner.batches.add(batch)
        batch.task = asyncio.create_task(self._run(lane, batch))
        # A task that is cancelled before it has begun runs no line of itself.
        batch.task.add_done_callback(lambda _: self._finished(lane, batch))

    def _give_place(self, lane: _Lane, batch: _Batch) -> None:
        """Gives the place of a batch that hangs to the next one; whoever waits for it goes on
        waiting."""
        batch.has_place = False
        lane.running -= 1
        self._wake()

    def _finished(self, lane: _Lane, batch: _Batch) -> None:
        batch.overdue.cancel()
        if batch.has_place:
            lane.running -= 1
        for item in batch.items:
            item.owner.batches.discard(batch)
        if lane is self._bulk and self._disturbed(batch):
            took = _now() - batch.began
            # A batch that a server kept for seconds and did not run took no core from anybody.
            self._rest_until = _now() + min(self._places.rest * took, _LONGEST_PAUSE)
        self._wake()

    def _disturbed(self, batch: _Batch) -> bool:
        """Whether queries came that share cores with a batch of bulk. A GPU has its own time."""
        on_cores = batch.items[0].graph.spec.device == "cpu"
        return on_cores and self._last_query > batch.began

    async def _run(self, lane: _Lane, batch: _Batch) -> None:
        """Runs a batch and hands the results out, or why there are none."""
        items, began = batch.items, _now()
        try:
            results = await self._infer(items)
        except InferenceFailed as error:
            if len(items) == 1:
                items[0].owner.settle(items[0], error)
            else:
                # Any one of them may be the cause.
                lane.backlog.part(item for item in items if not item.owner.over.is_set())
        # Whatever it is, whoever waits must hear of it.
        except Exception as error:
            for item in items:
                item.owner.fail(error)
        else:
            ended = _now()
            seconds = ended - began
            self._pace.observe(items[0].graph, len(items) * _length(items), seconds, ended)
            for request in {item.owner for item in items}:
                request.worked(began, seconds, len(items))
            for item, result in zip(items, results, strict=True):
                item.owner.settle(item, result)

    async def _infer(self, items: list[Item]) -> Sequence[Any]:
        graph, length = items[0].graph, _length(items)
        model = graph.spec.name
        self._metrics.batch_size.labels(model).observe(len(items))
        self._metrics.padded_tokens.labels(model).inc(len(items) * length)
        padded = pad([item.ids for item in items], length)
        outputs = await self._backend.infer(graph.spec, padded, timeout=_longest(items))
        return await graph.decode(outputs, padded)

    def _dropped(self, lane: _Lane, reason: str, request: _Request) -> None:
        self._metrics.dropped.labels(lane.name, reason).inc(request.left)


@dataclass(slots=True)
class _Lane:
    name: str
    backlog: Backlog
    running: int = 0

    def waiting(self) -> int:
        return self.backlog.tokens


@dataclass(slots=True, eq=False)
class _Batch:
    """Attributes:
    has_place: whether it counts as running in its lane.
    overdue: takes the place away from it.
    """

    items: list[Item]
    began: float
    has_place: bool = True
    overdue: asyncio.TimerHandle = field(init=False)
    task: asyncio.Task[None] = field(init=False)


@dataclass(slots=True, eq=False)
class _Request:
    """Texts that were sent together: they are queued together and answered together.

    Attributes:
        results: one a text, None while it is not there.
        asked: when it came.
        left: texts without a result.
        batches: that some of its texts are in now.
        over: set when all results are there, or there will be none.
        error: why there will be none.
    """

    caller: Caller
    timings: EncodeTimings
    results: list[Any]
    asked: float
    items: list[Item] = field(default_factory=list)
    left: int = 0
    batches: set[_Batch] = field(default_factory=set)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.left = len(self.results)

    def settle(self, item: Item, result: Any) -> None:
        self.results[item.position] = result
        self.left -= 1
        if not self.left:
            self.over.set()

    def fail(self, error: Exception) -> None:
        if not self.over.is_set():
            self.error = error
            self.over.set()

    def worked(self, began: float, seconds: float, texts: int) -> None:
        """Counts a batch that had some of the texts."""
        self.timings.queue = max(self.timings.queue, began - self.asked)
        self.timings.infer = max(self.timings.infer, seconds)
        self.timings.batches.append(texts)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _length(items: Sequence[Item]) -> int:
    """The length in tokens that a batch is padded to."""
    return max(item.length for item in items)


def _longest(items: Sequence[Item]) -> float | None:
    """Seconds until the last deadline of a batch: one who is in a hurry fails no other."""
    deadlines: list[float] = []
    for item in items:
        deadline: float | None = item.owner.caller.deadline
        if deadline is None:
            return None
        deadlines.append(deadline)
    return max(0.0, max(deadlines) - _now())
