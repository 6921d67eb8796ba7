"""Work on the items of a stream overlaps, and nobody can tell from the order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.rpc.streams import ahead


class Line:
    """Items that come as fast as they are asked for, and work on them that ends when it is told to.

    Attributes:
        received, ended, cancelled: items so far.
    """

    def __init__(self, count: int, *, broken: int | None = None, bad: int | None = None) -> None:
        self.received = 0
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self._count, self._broken, self._bad = count, broken, bad
        self._gates = [asyncio.Event() for _ in range(count)]

    async def items(self) -> AsyncIterator[int]:
        for number in range(self._count):
            if number == self._broken:
                raise RuntimeError(f"item {number} is broken")
            self.received += 1
            yield number

    async def work(self, number: int) -> int:
        try:
            await self._gates[number].wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        if number == self._bad:
            raise ValueError(f"work {number} failed")
        self.ended.append(number)
        return number

    def let_go(self, number: int) -> None:
        self._gates[number].set()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@given(st.permutations(range(7)), st.integers(1, 8))
def test_results_come_in_order_whatever_ends_first(finishing: list[int], most: int) -> None:
    async def run() -> None:
        line = Line(7)
        found: list[int] = []

        async def read() -> None:
            async for result in ahead(line.items(), line.work, most):
                found.append(result)
                await settle()
                # This result takes room until the next one is asked for.
                assert line.received <= len(found) - 1 + most

        reading = asyncio.create_task(read())
        await settle()
        assert line.received == min(7, most)
        for number in finishing:
            line.let_go(number)
            await settle()
        await reading
        assert found == list(range(7))

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["broken", "bad"])
async def test_an_error_comes_in_its_turn_and_ends_the_rest(kind: str) -> None:
    line = Line(6, **{kind: 2})
    found: list[int] = []

    async def read() -> None:
        async for result in ahead(line.items(), line.work, 4):
            found[len(found) :] = [result]

    reading = asyncio.create_task(read())
    await settle()
    for number in (2, 1):
        line.let_go(number)
        await settle()
    assert not reading.done()
    line.let_go(0)
    with pytest.raises(RuntimeError if kind == "broken" else ValueError, match="2"):
        await reading
    assert found == [0, 1]
    assert line.cancelled == ([] if kind == "broken" else [3, 4, 5][: line.received - 3])


async def test_who_stops_reading_leaves_nothing_behind() -> None:
    line = Line(6)
    line.let_go(0)
    async with aclosing(ahead(line.items(), line.work, 3)) as results:
        async for _ in results:
            await settle()
            break
    assert sorted(line.cancelled) == [1, 2]
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others
