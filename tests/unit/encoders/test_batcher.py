"""Who shares a batch, who goes first, who is refused or dropped, and who fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from sparsegate_server.encoders import batcher
from sparsegate_server.encoders.base import NOBODY, Caller, EncodeTimings
from sparsegate_server.encoders.batcher import Batcher, Places
from sparsegate_server.encoders.batching import BatchRules, Outputs, ServedGraph
from sparsegate_server.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InferenceUnavailable,
    Overloaded,
)
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

    def __init__(self, places: Places, most: int = 10_000, texts: int = 4) -> None:
        self.backend = Held()
        self.metrics = Metrics()
        rules = BatchRules(texts, 4096, step=0, overhead=0)
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


async def test_texts_of_many_requests_share_a_batch_and_come_back_in_order() -> None:
    async with scene() as s:
        timings = EncodeTimings()
        tasks = [s.ask(9), s.ask(5, 3, 4, timings=timings), s.ask(1, 2)]
        await settle()
        assert s.backend.contents == [[1, 3, 5, 9]]
        await s.backend.let_all_go()
        assert await asyncio.gather(*tasks) == [[9], [5, 3, 4], [1, 2]]
        assert s.backend.contents == [[1, 3, 5, 9], [2, 4]]
        assert timings.batches == [4, 2]
        assert timings.infer > 0


async def test_a_request_without_texts_needs_no_inference() -> None:
    async with scene() as s:
        assert await s.ask() == []
        assert s.backend.batches == []


async def test_queries_go_before_documents_and_have_their_own_places() -> None:
    async with scene(bulk=2) as s:
        for text in (1, 2, 3):
            s.ask(text, tokens=500)
            await settle()
        s.ask(100, urgent=True)
        s.ask(4)
        await settle()
        assert s.backend.contents == [[1], [2], [100]]
        s.ask(101, urgent=True)
        await s.backend.let_go(3)
        assert s.backend.contents[3:] == [[101], [3]]
        await s.backend.let_go()
        assert s.backend.contents[5:] == [[4]]


async def test_bulk_leaves_places_while_queries_come() -> None:
    async with scene(bulk=3, kept=1, texts=1) as s:
        s.ask(100, urgent=True)
        await settle()
        await s.backend.let_all_go()
        s.ask(1, 2, 3, 4)
        await settle()
        assert s.backend.contents == [[100], [1], [2]]


async def test_bulk_waits_for_queries_that_run_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although nothing comes and nothing ends that would have the queue looked at."""
    monkeypatch.setattr(batcher, "_LONGEST_PAUSE", 0.2)
    async with scene(bulk=2, kept=1, texts=1) as s:
        s.ask(1)
        await settle()
        await s.backend.let_go()
        s.ask(100, urgent=True)
        await settle()
        s.ask(2, 3)
        await settle()
        assert s.backend.contents == [[1], [100]]
        await s.backend.come([2])
        assert s.backend.contents == [[1], [100], [2]]


async def test_a_batch_that_took_very_long_makes_no_long_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one that a dead server had, until another one ran it."""
    now = 1000.0
    with monkeypatch.context() as patched:
        patched.setattr(batcher, "_now", lambda: now)
        async with scene(bulk=2, kept=1, texts=1, rest=2.0) as s:
            s.ask(1)
            await settle()
            now += 60.0
            s.ask(100, urgent=True)
            await settle()
            await s.backend.let_all_go()
            now += batcher._LONGEST_PAUSE / 2
            s.ask(2)
            await settle()
            await s.backend.let_all_go()
            s.ask(3)
            await settle()
            assert [3] not in s.backend.contents
            now += batcher._LONGEST_PAUSE
            await s.backend.come([3])


@pytest.mark.parametrize("rests", [True, False])
@pytest.mark.parametrize("queries_come", [True, False])
async def test_bulk_rests_after_a_batch_that_queries_came_into(
    rests: bool, queries_come: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it took: the clock of the batcher is the test's."""
    now = 1000.0
    monkeypatch.setattr(batcher, "_now", lambda: now)
    monkeypatch.setattr(batcher, "_LONGEST_PAUSE", 90.0)
    monkeypatch.setattr(batcher, "_QUIET_SECONDS", 90.0)
    async with scene(bulk=1, texts=1, rest=float(rests)) as s:
        s.ask(1, 2)
        await settle()
        now += 5.0
        if queries_come:
            s.ask(100, urgent=True)
            await settle()
        await s.backend.let_all_go()
        resting = rests and queries_come
        assert ([2] in s.backend.contents) is not resting
        now += 4.9
        s.ask(101, urgent=True)
        await settle()
        await s.backend.let_all_go()
        assert ([2] in s.backend.contents) is not resting
        now += 0.2
        s.ask(102, urgent=True)
        await settle()
        await s.backend.let_all_go()
        assert [2] in s.backend.contents


async def test_a_client_with_one_text_goes_before_the_rest_of_a_clients_many() -> None:
    async with scene(texts=2) as s:
        s.ask(*range(1, 9), caller=Caller("many"))
        await settle()
        s.ask(100, caller=Caller("one"))
        await s.backend.let_go()
        assert s.backend.contents == [[1, 2], [3, 100]]


async def test_a_full_lane_refuses_a_request_whole_with_a_hint() -> None:
    async with scene(most=45) as s:
        s.ask(1)
        await settle()
        s.ask(2, 3, 4)
        await settle()
        with pytest.raises(Overloaded, match="30 tokens are waiting") as refused:
            await s.ask(5, 6)
        assert (refused.value.retry_after or 0) > 0
        assert (s.waiting(), s.dropped("overloaded")) == (30, 2)
        query = s.ask(100, urgent=True)
        fits = s.ask(7)
        await s.backend.let_all_go()
        assert (await query, await fits) == ([100], [7])
        assert s.waiting() == 0


async def test_the_hint_follows_the_measured_pace() -> None:
    async with scene(most=200, texts=1) as s:
        s.ask(1, tokens=16)
        await settle()
        await asyncio.sleep(0.08)
        await s.backend.let_go()
        s.ask(*range(20))
        await settle()
        with pytest.raises(Overloaded) as refused:
            await s.ask(98, 99)
        # 190 tokens wait, and 16 took 0.08 s.
        assert 0.5 < (refused.value.retry_after or 0) < 5


async def test_a_deadline_that_has_passed_is_refused_even_when_there_is_room() -> None:
    async with scene() as s:
        with pytest.raises(DeadlineExceeded):
            await s.ask(1, caller=within(-1))
        assert s.backend.batches == []
        assert s.dropped("deadline") == 1


async def test_texts_leave_the_queue_at_their_deadline_and_cost_nothing() -> None:
    async with scene() as s:
        s.ask(1)
        await settle()
        late, patient = s.ask(2, caller=within(0.01)), s.ask(3)
        with pytest.raises(DeadlineExceeded):
            await late
        assert s.waiting() == 10
        await s.backend.let_all_go()
        assert await patient == [3]
        assert s.backend.contents == [[1], [3]]
        assert s.dropped("deadline") == 1


async def test_a_deadline_that_inference_cannot_meet_drops_the_text_before_it() -> None:
    async with scene() as s:
        s.ask(1)
        await settle()
        await asyncio.sleep(0.1)
        hopeless, patient = s.ask(2, caller=within(0.05)), s.ask(3, caller=within(10))
        await s.backend.let_go()
        with pytest.raises(DeadlineExceeded, match="no time"):
            await hopeless
        await s.backend.let_all_go()
        assert await patient == [3]
        assert s.backend.contents == [[1], [3]]


async def test_a_short_deadline_fails_none_of_the_same_batch() -> None:
    async with scene() as s:
        hasty, patient = s.ask(1, caller=within(0.02)), s.ask(2, caller=within(10))
        with pytest.raises(DeadlineExceeded):
            await hasty
        assert 5 < (s.backend.timeouts[0] or 0) <= 10
        s.ask(3, caller=within(10)), s.ask(4)
        await s.backend.let_go()
        assert await patient == [2]
        assert s.backend.timeouts[1] is None


async def test_who_has_gone_leaves_the_queue() -> None:
    async with scene() as s:
        s.ask(1)
        await settle()
        gone, stays = s.ask(2, 3), s.ask(4)
        await settle()
        gone.cancel()
        await settle()
        assert (s.waiting(), s.dropped("cancelled")) == (10, 2)
        await s.backend.let_all_go()
        assert await stays == [4]
        assert s.backend.contents == [[1], [4]]


async def test_a_batch_ends_when_nobody_wants_it_any_more_and_its_place_is_free() -> None:
    async with scene() as s:
        one, other, third = s.ask(1), s.ask(2), s.ask(3, tokens=500)
        await settle()
        one.cancel()
        await settle()
        assert s.backend.cancelled == 0
        other.cancel()
        await settle()
        assert s.backend.cancelled == 1
        await s.backend.let_all_go()
        assert await third == [3]


async def test_a_batch_that_is_not_wanted_before_it_has_begun_frees_its_place() -> None:
    async with scene() as s:
        one = s.ask(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        one.cancel()
        other = s.ask(2)
        await s.backend.let_all_go()
        await settle()
        await s.backend.let_all_go()
        assert await other == [2]


async def test_one_bad_text_fails_alone() -> None:
    async with scene() as s:
        good, bad = s.ask(1, 2), s.ask(3, POISON)
        await settle()
        assert len(s.backend.batches) == 1
        await s.backend.let_all_go()
        assert await good == [1, 2]
        three, failed = await bad
        assert three == 3
        assert isinstance(failed, InferenceFailed)
        assert s.backend.contents == [[1, 2, 3, POISON], [1], [2], [3], [POISON]]


async def test_a_request_that_ends_while_its_texts_are_tried_alone_takes_them_along() -> None:
    async with scene() as s:
        stays, gone = s.ask(POISON), s.ask(1, 2)
        await settle()
        await s.backend.let_go()
        gone.cancel()
        await s.backend.let_all_go()
        (failed,) = await stays
        assert isinstance(failed, InferenceFailed)
        assert s.backend.contents == [[1, 2, POISON], [POISON]]


@pytest.mark.parametrize("error", [InferenceUnavailable("away"), KeyError("unexpected")])
async def test_what_is_no_texts_fault_reaches_everyone_of_the_batch(error: Exception) -> None:
    async with scene() as s:
        s.backend.error = error
        tasks = [s.ask(1), s.ask(2, 3)]
        later = s.ask(4, tokens=500)
        await settle()
        await s.backend.let_go()
        s.backend.error = None
        await s.backend.let_all_go()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert found == [error, error]
        assert await later == [4]


async def test_a_request_that_fails_takes_its_other_texts_along() -> None:
    async with scene(texts=1) as s:
        task, other = s.ask(1, 2, 3), s.ask(9)
        await settle()
        s.backend.error = InferenceUnavailable("away")
        await s.backend.let_go()
        with pytest.raises(InferenceUnavailable):
            await task
        s.backend.error = None
        await s.backend.let_all_go()
        assert await other == [9]
        assert s.backend.contents == [[1], [9]]


async def test_graphs_do_not_share_a_batch() -> None:
    async with scene() as s:
        one = s.ask(1)
        s.graph = ServedGraph(SPEC, first_tokens)
        other = s.ask(2)
        await settle()
        await s.backend.let_all_go()
        assert (await one, await other) == ([1], [2])
        assert s.backend.contents == [[1], [2]]


async def test_padding_is_counted() -> None:
    async with scene() as s:
        s.ask(1, 2, 3)
        await s.backend.let_all_go()
        await settle()
        await s.backend.let_all_go()
        count = s.metrics.registry.get_sample_value
        assert count("sparsegate_padded_tokens_total", {"model": "tiny"}) == 48
        assert count("sparsegate_inference_batch_size_sum", {"model": "tiny"}) == 3
