"""Nobody waits for another's write, and what was begun is finished."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from sparsegate_server.backends.base import IndexBackend
from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.errors import ShuttingDown
from sparsegate_server.operations import Document, SearchOptions

from .conftest import FILM, TEN, config, vector


class Slow(Sequence[Document]):
    """Documents that say when a write has begun to read them, and wait to be let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()

    def __len__(self) -> int:
        return 1

    def __getitem__(self, at):  # type: ignore[no-untyped-def]
        return [FILM][at]

    def __iter__(self) -> Iterator[Document]:
        self.begun.set()
        assert self.release.wait(30)
        return iter([FILM])


async def test_a_write_whose_caller_leaves_is_applied_whole_or_not_at_all(
    backend: IndexBackend,
) -> None:
    slow = Slow()
    begun = asyncio.create_task(backend.upsert("films", slow))
    assert await asyncio.to_thread(slow.begun.wait, 30)
    # Neither the loop nor a read nor another write waits for it.
    assert (await backend.search("films", vector(1), SearchOptions(1))).hits == ()
    await backend.upsert("films", [Document("b", vector(1))])
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    slow.release.set()
    await backend.upsert("films", [])
    found = (await backend.get("films", ["a", "b"])).documents
    assert found[1] is not None
    assert found[0] is None or found[0].text == "text"


async def test_closing_finishes_what_was_begun_and_refuses_the_rest(
    backend: EmbeddedBackend,
) -> None:
    slow = Slow()
    write = asyncio.create_task(backend.upsert("films", slow))
    assert await asyncio.to_thread(slow.begun.wait, 30)
    closing = asyncio.create_task(backend.close())
    await asyncio.sleep(0)
    with pytest.raises(ShuttingDown):
        await backend.search("films", vector(1), TEN)
    with pytest.raises(ShuttingDown):
        await backend.create_collection(config("late"))
    slow.release.set()
    assert (await write).sequence == 1
    await closing


async def test_many_searches_share_few_threads(backend: IndexBackend) -> None:
    await backend.create_collection(config("wide", shards=8))
    documents = [Document(number, vector(1 + number % 5)) for number in range(200)]
    await backend.upsert("wide", documents)
    results = await asyncio.gather(
        *(backend.search("wide", vector(1), SearchOptions(3)) for _ in range(100))
    )
    assert {tuple(hit.id for hit in each.hits) for each in results} == {(4, 9, 14)}
