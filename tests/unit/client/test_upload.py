"""Bulk upload, with both clients."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

import sparsegate
from sparsegate import Document, UploadInterrupted
from sparsegate._async.upload import RECONNECTS, WINDOW
from sparsegate.results import UploadProgress
from sparsegate.v1 import document_pb2 as pb


def documents(count: int) -> Iterator[Document]:
    return (Document(number, "text") for number in range(count))


async def closed(gateway: Any) -> bool:
    """Whether every stream ends soon."""
    for _ in range(100):
        if not gateway.streams_open:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_all_documents_arrive_in_batches(client: Any, gateway: Any) -> None:
    sizes: list[int] = []
    ids: list[int] = []

    def upsert(request: pb.UpsertRequest, _: Any) -> pb.UpsertResponse:
        sizes.append(len(request.documents))
        ids.extend(document.id.number for document in request.documents)
        return pb.UpsertResponse(applied=len(request.documents), sequence=len(sizes))

    gateway.upsert = upsert
    seen: list[UploadProgress] = []
    summary = await client.upload("films", documents(250), batch_size=100, on_progress=seen.append)
    assert sizes == [100, 100, 50]
    assert ids == list(range(250))
    assert (summary.acknowledged, summary.applied, summary.errors) == (250, 250, {})
    assert (summary.batches, summary.sequence) == (3, 3)
    assert [progress.acknowledged for progress in seen] == [100, 200, 250]
    assert seen[-1] == UploadProgress(acknowledged=250, applied=250, failed=0, batches=3)
    assert await closed(gateway)


async def test_nothing_is_a_legal_upload(client: Any) -> None:
    summary = await client.upload("films", [])
    assert (summary.acknowledged, summary.batches) == (0, 0)


async def test_refused_documents_keep_their_position(
    client: Any, gateway: Any, status_of: Any, details: Any
) -> None:
    def upsert(request: pb.UpsertRequest, _: Any) -> pb.UpsertResponse:
        response = pb.UpsertResponse()
        for at, document in enumerate(request.documents):
            result = response.results.add(capped=True)
            if document.id.number % 10 == 7:
                field = details.BadRequest.FieldViolation(field=f"documents[{at}].text")
                bad = details.BadRequest(field_violations=[field])
                text = f"documents[{at}].text: no"
                result.error.CopyFrom(status_of(grpc.StatusCode.INVALID_ARGUMENT, text, bad))
            else:
                response.applied += 1
        return response

    gateway.upsert = upsert
    source = [
        Document(number, payload={"n": 2**63 if number in {3, 29} else 0}) for number in range(30)
    ]
    summary = await client.upload("films", source, batch_size=4)
    assert list(summary.errors) == [3, 7, 17, 27, 29]
    assert summary.errors[17].field == "documents[17].text"
    assert summary.errors[17].message == "no"
    assert summary.errors[29].field == "documents[29].payload.n"
    assert (summary.acknowledged, summary.applied, summary.capped) == (30, 25, 28)


async def test_a_source_of_nothing_but_bad_documents(client: Any, gateway: Any) -> None:
    summary = await client.upload("films", [Document(-1), Document(-2)])
    assert list(summary.errors) == [0, 1]
    assert (summary.acknowledged, gateway.calls) == (2, 0)


async def test_the_source_is_read_only_a_few_batches_ahead(client: Any, gateway: Any) -> None:
    read = acknowledged = lead = 0

    def source() -> Iterator[Document]:
        nonlocal read, lead
        for document in documents(300):
            read += 1
            lead = max(lead, read - acknowledged)
            yield document

    def note(progress: UploadProgress) -> None:
        nonlocal acknowledged
        acknowledged = progress.acknowledged

    await client.upload("films", source(), batch_size=10, on_progress=note)
    assert lead <= (WINDOW + 1) * 10


async def test_large_answers_to_large_batches_do_not_block_one_another(
    client: Any, gateway: Any, status_of: Any
) -> None:
    bad = status_of(grpc.StatusCode.INVALID_ARGUMENT, "x" * 20_000)
    gateway.upsert = lambda request, _: pb.UpsertResponse(
        results=[pb.UpsertResult(error=bad) for _ in request.documents]
    )
    source = (Document(number, "y" * 20_000) for number in range(1000))
    summary = await client.upload("films", source, batch_size=100)
    assert len(summary.errors) == 1000


async def test_large_documents_close_a_batch(
    client: Any, gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsegate._batching.MAX_BATCH_BYTES", 10_000)
    summary = await client.upload("films", [Document(n, "x" * 6000) for n in range(6)])
    assert summary.batches == 3


@pytest.mark.parametrize("attempt", range(5))
async def test_a_broken_stream_says_how_far_it_came(
    client: Any, gateway: Any, refuse: Any, details: Any, attempt: int
) -> None:
    def upsert(request: pb.UpsertRequest, context: Any) -> pb.UpsertResponse:
        if gateway.calls == 3:
            info = details.ErrorInfo(reason="COLLECTION_NOT_FOUND")
            refuse(context, grpc.StatusCode.NOT_FOUND, "gone", info)
        return pb.UpsertResponse(applied=len(request.documents), sequence=gateway.calls)

    gateway.upsert = upsert
    with pytest.raises(UploadInterrupted, match="20 documents were acknowledged") as caught:
        await client.upload("films", documents(500), batch_size=10, request_id="r3")
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
    assert error.request_id == "r3"
    assert (error.summary.acknowledged, error.summary.applied, error.summary.sequence) == (
        20,
        20,
        2,
    )
    assert isinstance(error.__cause__, sparsegate.NotFound)
    assert await closed(gateway)


async def test_a_stream_that_ends_too_early(client: Any, gateway: Any) -> None:
    gateway.ends_after = 1
    with pytest.raises(UploadInterrupted, match="skipped"):
        await client.upload("films", documents(50), batch_size=10)


async def test_a_silent_gateway_is_given_up(client: Any, gateway: Any) -> None:
    release = threading.Event()

    def upsert(request: pb.UpsertRequest, _: Any) -> pb.UpsertResponse:
        if gateway.calls == 2:
            release.wait(10)
        return pb.UpsertResponse(applied=len(request.documents), sequence=1)

    gateway.upsert = upsert
    began = time.monotonic()
    with pytest.raises(UploadInterrupted, match=r"within 0\.2 s") as caught:
        await client.upload("films", documents(50), batch_size=10, timeout=0.2)
    release.set()
    assert time.monotonic() - began < 5
    assert isinstance(caught.value.__cause__, sparsegate.DeadlineExceeded)
    assert caught.value.summary.acknowledged == 10
    assert await closed(gateway)


async def test_a_slow_upload_may_take_longer_than_its_timeout(client: Any, gateway: Any) -> None:
    def upsert(request: pb.UpsertRequest, _: Any) -> pb.UpsertResponse:
        time.sleep(0.1)
        return pb.UpsertResponse(applied=len(request.documents))

    gateway.upsert = upsert
    summary = await client.upload("films", documents(10), batch_size=1, timeout=0.6)
    assert summary.applied == 10


async def test_the_sources_own_error_ends_the_upload(client: Any, gateway: Any) -> None:
    def source() -> Iterator[Document]:
        yield from documents(25)
        raise KeyError("source")

    threads = threading.active_count()
    with pytest.raises(KeyError, match="source"):
        await client.upload("films", source(), batch_size=10)
    assert await closed(gateway)
    for _ in range(100):
        if threading.active_count() <= threads + 8:  # the fake gateway's own
            break
        await asyncio.sleep(0.02)
    assert threading.active_count() <= threads + 8


async def test_an_illegal_batch_size_is_refused(client: Any) -> None:
    with pytest.raises(sparsegate.InvalidArgument, match="batch_size"):
        await client.upload("films", documents(1), batch_size=0)


async def test_asyncio_uploads_from_an_async_source(gateway: Any) -> None:
    async def source() -> AsyncIterator[Document]:
        for document in documents(25):
            await asyncio.sleep(0)
            yield document

    async with sparsegate.aio.Client(gateway.address) as client:
        summary = await client.upload("films", source(), batch_size=10)
    assert summary.applied == 25


async def test_a_cancelled_upload_leaves_nothing_behind(gateway: Any) -> None:
    arrived, release = threading.Event(), threading.Event()

    def upsert(request: pb.UpsertRequest, _: Any) -> pb.UpsertResponse:
        arrived.set()
        release.wait(10)
        return pb.UpsertResponse(applied=len(request.documents))

    gateway.upsert = upsert
    async with sparsegate.aio.Client(gateway.address) as client:
        task = asyncio.create_task(client.upload("films", documents(100), batch_size=10))
        assert await asyncio.to_thread(arrived.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()
        assert await closed(gateway)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnects without a pause worth the name."""
    for flavour in ("_async", "_sync"):
        monkeypatch.setattr(f"sparsegate.{flavour}.upload.FIRST_PAUSE", 0.001)
        monkeypatch.setattr(f"sparsegate.{flavour}.upload.LONGEST_PAUSE", 0.001)


def going_away(gateway: Any, refuse: Any, calls: set[int]) -> Any:
    """An answer to batches that, at some calls, is that the gateway is going away."""

    def upsert(request: pb.UpsertRequest, context: Any) -> pb.UpsertResponse:
        if gateway.calls in calls:
            with suppress(ValueError):  # they are sent already
                context.send_initial_metadata(())  # from here on, gRPC itself tries no further
            refuse(context, grpc.StatusCode.UNAVAILABLE, "going away")
        return pb.UpsertResponse(applied=len(request.documents), sequence=gateway.calls)

    return upsert


@pytest.mark.parametrize("failing", [{1}, {3}, {5}, {2, 3, 4}, {1, 4, 7}])
async def test_an_upload_outlives_its_connection(
    client: Any, gateway: Any, refuse: Any, hasty: None, failing: set[int]
) -> None:
    gateway.upsert = going_away(gateway, refuse, failing)
    summary = await client.upload("films", documents(50), batch_size=10)
    assert (summary.acknowledged, summary.applied, summary.batches) == (50, 50, 5)
    (stream,) = {stream for stream, _ in gateway.batches}
    assert stream == summary.stream
    numbers = [number for _, number in gateway.batches]
    assert set(numbers) == {10, 20, 30, 40, 50}
    assert len(numbers) == 5 + len(failing)  # only what had no answer is sent again
    assert await closed(gateway)


async def test_an_upload_gives_up_in_the_end(
    client: Any, gateway: Any, refuse: Any, hasty: None
) -> None:
    gateway.upsert = going_away(gateway, refuse, set(range(2, 1000)))
    with pytest.raises(UploadInterrupted, match="going away") as caught:
        await client.upload("films", documents(50), batch_size=10)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    assert caught.value.summary.acknowledged == 10
    assert gateway.calls >= 1 + 1 + RECONNECTS  # gRPC itself may have tried a few times more
    assert await closed(gateway)


def overloaded(gateway: Any, refuse: Any, calls: set[int], *details: Any) -> Any:
    """An answer to batches that, at some calls, is that the gateway has too much to do."""

    def upsert(request: pb.UpsertRequest, context: Any) -> pb.UpsertResponse:
        if gateway.calls in calls:
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "too much to do", *details)
        return pb.UpsertResponse(applied=len(request.documents), sequence=gateway.calls)

    return upsert


async def test_an_upload_comes_again_when_an_overloaded_gateway_says(
    client: Any, gateway: Any, refuse: Any, details: Any, hasty: None
) -> None:
    hint = details.RetryInfo(retry_delay=Duration(nanos=200_000_000))
    gateway.upsert = overloaded(gateway, refuse, {2, 3}, hint)
    began = time.monotonic()
    summary = await client.upload("films", documents(50), batch_size=10)
    assert (summary.acknowledged, summary.applied, summary.batches) == (50, 50, 5)
    assert time.monotonic() - began >= 2 * 0.2
    assert await closed(gateway)


async def test_what_is_too_much_at_any_time_is_not_sent_again(
    client: Any, gateway: Any, refuse: Any, hasty: None
) -> None:
    gateway.upsert = overloaded(gateway, refuse, {2})
    with pytest.raises(UploadInterrupted, match="too much to do") as caught:
        await client.upload("films", documents(50), batch_size=10)
    assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert gateway.calls == 2
    assert await closed(gateway)


async def test_an_upload_reconnects_no_longer_than_its_timeout(
    client: Any, gateway: Any, refuse: Any
) -> None:
    gateway.upsert = going_away(gateway, refuse, set(range(1, 1000)))
    began = time.monotonic()
    with pytest.raises(UploadInterrupted):
        await client.upload("films", documents(50), batch_size=10, timeout=0.5)
    assert time.monotonic() - began < 2
    assert await closed(gateway)


async def test_an_upload_is_resumed_where_it_ended(client: Any, gateway: Any) -> None:
    gateway.position = 30
    source = [Document(-1 if number in {25, 35} else number, "text") for number in range(47)]
    seen: list[UploadProgress] = []
    summary = await client.upload(
        "films", source, batch_size=10, stream="mine", on_progress=seen.append
    )
    assert gateway.batches == [("mine", 41), ("mine", 47)]
    assert (summary.acknowledged, summary.applied, summary.skipped) == (47, 16, 30)
    assert list(summary.errors) == [35]  # nothing is known of those that were passed over
    assert summary.stream == "mine"
    assert seen[0] == UploadProgress(30, applied=0, failed=0, batches=0, skipped=30)
    assert [progress.acknowledged for progress in seen] == [30, 41, 47]
    assert await client.stream_position("films", "mine") == 30


@pytest.mark.parametrize("first", [1, 7, 10, 100])
@pytest.mark.parametrize("second", [1, 3, 10, 100])
async def test_batches_may_have_another_size_when_an_upload_is_resumed(
    client: Any, gateway: Any, refuse: Any, first: int, second: int
) -> None:
    arrived: list[int] = []

    def upsert(request: pb.UpsertRequest, context: Any) -> pb.UpsertResponse:
        if gateway.calls == 3:
            refuse(context, grpc.StatusCode.NOT_FOUND, "gone")
        arrived.extend(document.id.number for document in request.documents)
        gateway.position = gateway.batches[-1][1]
        return pb.UpsertResponse(applied=len(request.documents))

    gateway.upsert = upsert
    source = [Document(-1 if number % 9 == 4 else number, "text") for number in range(40)]
    with suppress(UploadInterrupted):
        await client.upload("films", source, batch_size=first, stream="mine")
    gateway.calls = 10
    summary = await client.upload("films", source, batch_size=second, stream="mine")
    assert arrived == [number for number in range(40) if number % 9 != 4]
    assert (summary.acknowledged, gateway.position) == (40, 40)


async def test_a_source_that_ends_before_the_position_is_another_source(
    client: Any, gateway: Any
) -> None:
    gateway.position = 48
    with pytest.raises(sparsegate.InvalidArgument, match=r"'mine'.*another source") as caught:
        await client.upload("films", documents(47), batch_size=10, stream="mine")
    assert caught.value.field == "stream"
    assert gateway.batches == []
    assert await closed(gateway)


async def test_an_upload_that_was_complete_sends_nothing(client: Any, gateway: Any) -> None:
    gateway.position = 47
    summary = await client.upload("films", documents(47), batch_size=10, stream="mine")
    assert gateway.batches == []
    assert (summary.acknowledged, summary.skipped, summary.batches) == (47, 47, 0)


async def test_uploads_without_a_name_do_not_share_one(client: Any, gateway: Any) -> None:
    gateway.position = 5
    for _ in range(2):
        await client.upload("films", documents(5), batch_size=10)
    assert len({stream for stream, _ in gateway.batches}) == 2
