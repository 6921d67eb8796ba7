"""Several models that encode one request's texts at once: what comes back, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from sparsegate_server.encoders.base import (
    NOBODY,
    Encoder,
    EncodeTimings,
    Encoding,
    Mode,
    OnTruncation,
)
from sparsegate_server.errors import InferenceUnavailable, SparsegateError
from sparsegate_server.search.encode import EncodePlan
from sparsegate_server.telemetry.metrics import Metrics
from sparsegate_server.types import SparseVector

Work = list[tuple[Encoder, Sequence[str]]]


class Rung:
    """An encoder that does something of the test's before it answers; a text's only weight is its
    length.

    Attributes:
        ended: whether it is done, whatever way it ended.
    """

    def __init__(self, before: Callable[[], Awaitable[Any]]) -> None:
        self.spec = SimpleNamespace(name="rung")
        self.ended = False
        self._before = before

    async def encode(self, texts: Sequence[str], *_: Any, **__: Any) -> list[Encoding]:
        try:
            await self._before()
        finally:
            self.ended = True
        return [
            Encoding(SparseVector(np.zeros(1, np.uint32), np.float32([len(text)])), 1, False, False)
            for text in texts
        ]


def rung(before: Callable[[], Awaitable[Any]]) -> tuple[Encoder, Rung]:
    made = Rung(before)
    return cast(Encoder, made), made


async def run(work: Work) -> list[list[Encoding | SparsegateError]]:
    plan = EncodePlan(cast(Any, None), Metrics())
    return await plan.run_all(
        work,
        Mode.DOCUMENT,
        on_truncation=OnTruncation.FLAG,
        timings=EncodeTimings(),
        caller=NOBODY,
    )


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_they_encode_at_once_and_answer_in_order() -> None:
    barrier = asyncio.Barrier(2)
    first, second = rung(barrier.wait)[0], rung(barrier.wait)[0]
    async with asyncio.timeout(10):
        found = await run([(first, ["a", "bb"]), (second, ["ccc"])])
    weights = [
        [item.vector.values.tolist() for item in each if isinstance(item, Encoding)]
        for each in found
    ]
    assert weights == [[[1.0], [2.0]], [[3.0]]]


async def test_the_first_one_s_error_is_told_whoever_failed_earlier() -> None:
    failed = asyncio.Event()

    async def late() -> None:
        await failed.wait()
        raise InferenceUnavailable("the first")

    async def early() -> None:
        failed.set()
        raise InferenceUnavailable("the second")

    with pytest.raises(InferenceUnavailable, match="the first"):
        await run([(rung(late)[0], ["a"]), (rung(early)[0], ["a"])])


async def test_where_one_fails_the_others_are_ended() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise InferenceUnavailable("away")

    waiting, other = rung(for_ever)
    with pytest.raises(InferenceUnavailable, match="away"):
        await run([(rung(fails)[0], ["a"]), (waiting, ["a"])])
    assert other.ended


async def test_all_end_with_their_caller() -> None:
    (first, one), (second, other) = rung(for_ever), rung(for_ever)
    task = asyncio.create_task(run([(first, ["a"]), (second, ["a"])]))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (one.ended, other.ended) == (True, True)


async def test_nobody_has_nothing_to_encode() -> None:
    assert await run([]) == []
