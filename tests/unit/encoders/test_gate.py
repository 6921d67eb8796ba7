"""Who runs, who waits, who is refused."""

from __future__ import annotations

import asyncio

import pytest

from sparsegate_server.encoders.gate import BatchGate
from sparsegate_server.errors import DeadlineExceeded, Overloaded


class Room:
    """Batches that stay in the gate until they are let out."""

    def __init__(self, gate: BatchGate) -> None:
        self._gate = gate
        self.inside: list[str] = []
        self._out: dict[str, asyncio.Event] = {}

    def enter(
        self, name: str, *, urgent: bool = False, deadline: float | None = None
    ) -> asyncio.Task[None]:
        self._out[name] = asyncio.Event()
        return asyncio.create_task(self._stay(name, urgent, deadline))

    def let_out(self, name: str) -> None:
        self._out[name].set()

    async def _stay(self, name: str, urgent: bool, deadline: float | None) -> None:
        async with self._gate.slot(urgent=urgent, deadline=deadline):
            self.inside.append(name)
            await self._out[name].wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_queries_go_before_documents_and_each_in_order() -> None:
    room = Room(BatchGate(1, 10))
    names = ["first", "d1", "q1", "d2", "q2"]
    tasks = []
    for name in names:
        tasks.append(room.enter(name, urgent=name.startswith("q")))
        await settle()
    for name in ["first", "q1", "q2", "d1", "d2"]:
        assert room.inside[-1] == name
        room.let_out(name)
        await settle()
    await asyncio.gather(*tasks)


async def test_a_full_queue_refuses_with_a_hint() -> None:
    gate = BatchGate(1, 2)
    room = Room(gate)
    gate.admit(3)
    with pytest.raises(Overloaded) as refused:
        gate.admit(4)
    assert refused.value.retry_after is not None
    assert refused.value.retry_after > 0
    tasks = [room.enter(name) for name in "abc"]
    await settle()
    with pytest.raises(Overloaded):
        gate.admit(1)
    for name in "abc":
        room.let_out(name)
    await asyncio.gather(*tasks)
    gate.admit(3)


async def test_a_deadline_that_has_passed_is_refused_even_when_there_is_room() -> None:
    room = Room(BatchGate(1, 1))
    with pytest.raises(DeadlineExceeded):
        await room.enter("late", deadline=asyncio.get_running_loop().time() - 1)
    assert room.inside == []


async def test_a_waiting_batch_leaves_at_its_deadline_and_its_place_is_free() -> None:
    gate = BatchGate(1, 10)
    room = Room(gate)
    first = room.enter("first")
    await settle()
    late = room.enter("late", deadline=asyncio.get_running_loop().time() + 0.01)
    patient = room.enter("patient")
    with pytest.raises(DeadlineExceeded):
        await late
    assert gate.waiting == 1
    room.let_out("first")
    await settle()
    assert room.inside == ["first", "patient"]
    room.let_out("patient")
    await asyncio.gather(first, patient)


async def test_a_cancelled_batch_hands_its_turn_on() -> None:
    gate = BatchGate(1, 10)
    room = Room(gate)
    first, second, third = (room.enter(name) for name in ("first", "second", "third"))
    await settle()
    # The turn comes and the cancellation arrives before the batch has run again.
    room.let_out("first")
    first.add_done_callback(lambda _: second.cancel())
    with pytest.raises(asyncio.CancelledError):
        await second
    await settle()
    assert room.inside[-1] == "third"
    room.let_out("third")
    await asyncio.gather(first, third)
    gate.admit(11)


async def test_a_place_that_frees_as_its_next_owner_gives_up_goes_to_the_one_after() -> None:
    gate = BatchGate(1, 10)
    room = Room(gate)
    first, second, third = (room.enter(name) for name in ("first", "second", "third"))
    await settle()
    # In one step of the loop, and in this order.
    room.let_out("first")
    second.cancel()
    await settle()
    assert room.inside == ["first", "third"]
    room.let_out("third")
    await asyncio.gather(first, third)
    gate.admit(11)


async def test_bulk_leaves_places_to_queries() -> None:
    room = Room(BatchGate(4, 10, bulk=3))
    names = ["d1", "d2", "d3", "d4", "q1"]
    tasks = []
    for name in names:
        tasks.append(room.enter(name, urgent=name.startswith("q")))
        await settle()
    assert room.inside == ["d1", "d2", "d3", "q1"]
    for name in names:
        room.let_out(name)
    await asyncio.gather(*tasks)
    assert room.inside[-1] == "d4"
