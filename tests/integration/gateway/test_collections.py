"""Aliases, optimizing, snapshots and restoring, through the wire."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tests.golden import FILMS
from tests.integration.gateway.conftest import Wire, details, serving
from tests.integration.gateway.movies import ID, QUESTION, load_movies

from sparsegate.v1 import collection_pb2, document_pb2, search_pb2, snapshot_pb2

INVALID = grpc.StatusCode.INVALID_ARGUMENT
Change = collection_pb2.AliasChange


async def change(wire: Wire, *changes: collection_pb2.AliasChange) -> list[tuple[str, str]]:
    reply = await wire.collections.UpdateAliases(
        collection_pb2.UpdateAliasesRequest(changes=changes)
    )
    listed = await wire.collections.ListAliases(collection_pb2.ListAliasesRequest())
    assert listed.aliases == reply.aliases
    return [(alias.alias, alias.collection) for alias in listed.aliases]


async def describe(wire: Wire, name: str = "films") -> collection_pb2.Collection:
    got = await wire.collections.Get(collection_pb2.GetCollectionRequest(name=name))
    return got.collection


async def test_an_alias_stands_for_its_collection(wire: Wire) -> None:
    await load_movies(wire)
    await wire.create("empty")
    assert await change(wire, Change(alias="now", collection="films")) == [("now", "films")]
    assert list((await describe(wire)).aliases) == ["now"]
    assert (await describe(wire, "now")).name == "films"
    search = search_pb2.SearchRequest(collection="now", text=QUESTION, limit=3)
    assert (await wire.search.Search(search)).hits
    count = document_pb2.CountDocumentsRequest(collection="now")
    assert (await wire.documents.Count(count)).count == len(FILMS)
    delete = document_pb2.DeleteDocumentsRequest(collection="now", ids=[ID(number=0)])
    assert (await wire.documents.Delete(delete)).deleted == 1
    sample = wire.gateway.metrics.registry.get_sample_value
    assert sample("sparsegate_documents", {"collection": "films"}) == len(FILMS) - 1
    assert sample("sparsegate_documents", {"collection": "now"}) is None
    switched = await change(
        wire, Change(alias="now", collection="empty"), Change(alias="old", collection="films")
    )
    assert switched == [("now", "empty"), ("old", "films")]
    assert (await wire.documents.Count(count)).count == 0
    assert await change(wire, Change(alias="old", remove=True)) == [("now", "empty")]
    await wire.collections.Delete(collection_pb2.DeleteCollectionRequest(name="empty"))
    assert await change(wire, Change(alias="none", remove=True)) == []


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ([], INVALID, "changes"),
        ([Change(alias="a/b", remove=True)], INVALID, "changes[0].alias"),
        ([Change(alias="a")], INVALID, "changes[0].change"),
        ([Change(alias="a", remove=False)], INVALID, "changes[0].remove"),
        ([Change(alias="a", collection="nope")], grpc.StatusCode.NOT_FOUND, "[0].collection"),
        ([Change(alias="films", collection="films")], grpc.StatusCode.ALREADY_EXISTS, "[0].alias"),
        (
            [Change(alias="a", collection="films"), Change(alias="b", collection="nope")],
            grpc.StatusCode.NOT_FOUND,
            "[1].collection",
        ),
    ],
)
async def test_bad_changes_change_nothing(
    wire: Wire, changes: list[collection_pb2.AliasChange], code: grpc.StatusCode, field: str
) -> None:
    await wire.create()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await change(wire, *changes)
    got, _, fields = details(caught.value)
    assert got == code
    assert len(fields) == 1
    assert fields[0].endswith(field)
    listed = await wire.collections.ListAliases(collection_pb2.ListAliasesRequest())
    assert not listed.aliases


async def test_an_alias_takes_a_name(wire: Wire) -> None:
    await wire.create()
    await change(wire, Change(alias="now", collection="films"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.create("now")
    assert details(caught.value)[1:] == ("COLLECTION_EXISTS", ["name"])


async def test_optimizing_leaves_one_segment_a_shard(wire: Wire) -> None:
    await load_movies(wire)
    delete = document_pb2.DeleteDocumentsRequest(collection="films", ids=[ID(number=0)])
    await wire.documents.Delete(delete)
    search = search_pb2.SearchRequest(collection="films", text=QUESTION, limit=20)
    before = (await wire.search.Search(search)).hits
    reply = await wire.collections.Optimize(collection_pb2.OptimizeCollectionRequest(name="films"))
    done = reply.collection
    assert (done.segments, done.tail, done.tombstones) == (2, 0, 0)
    assert done.documents == len(FILMS) - 1
    assert done.index_bytes > 0
    assert done.store_bytes > 0
    assert not done.problem
    assert (await wire.search.Search(search)).hits == before


async def snapshot(wire: Wire) -> snapshot_pb2.Snapshot:
    reply = await wire.collections.CreateSnapshot(
        snapshot_pb2.CreateSnapshotRequest(collection="films")
    )
    return reply.snapshot


async def download(wire: Wire, name: str) -> bytes:
    request = snapshot_pb2.DownloadSnapshotRequest(collection="films", snapshot=name)
    pieces = [piece async for piece in wire.collections.DownloadSnapshot(request)]
    archive = b"".join(piece.chunk for piece in pieces)
    assert {piece.bytes for piece in pieces} == {len(archive)}
    return archive


async def restore(
    wire: Wire,
    name: str,
    *chunks: bytes,
    kept: tuple[str, str] | None = None,
    more: tuple[snapshot_pb2.RestoreSnapshotRequest, ...] = (),
) -> collection_pb2.Collection:
    target = snapshot_pb2.RestoreTarget(collection=name)
    if kept:
        target.snapshot.collection, target.snapshot.snapshot = kept

    async def parts() -> AsyncIterator[snapshot_pb2.RestoreSnapshotRequest]:
        yield snapshot_pb2.RestoreSnapshotRequest(target=target)
        for chunk in chunks:
            yield snapshot_pb2.RestoreSnapshotRequest(chunk=chunk)
        for part in more:
            yield part

    return (await wire.collections.RestoreSnapshot(parts())).collection


def in_pieces(archive: bytes, size: int = 10_000) -> list[bytes]:
    return [archive[at : at + size] for at in range(0, len(archive), size)]


async def test_a_snapshot_goes_round(wire: Wire, data_folder: Path) -> None:
    await load_movies(wire)
    search = search_pb2.SearchRequest(
        collection="films", text=QUESTION, limit=20, with_payload=True, with_text=True
    )
    expected = (await wire.search.Search(search)).hits
    taken = await snapshot(wire)
    assert (taken.collection, taken.documents) == ("films", len(FILMS))
    assert taken.sequence == (await describe(wire)).sequence
    assert abs(taken.created.ToDatetime().timestamp() - time.time()) < 86_400
    listed = await wire.collections.ListSnapshots(
        snapshot_pb2.ListSnapshotsRequest(collection="films")
    )
    assert list(listed.snapshots) == [taken]
    await wire.documents.Delete(
        document_pb2.DeleteDocumentsRequest(collection="films", ids=[ID(number=18)])
    )
    archive = await download(wire, taken.name)
    assert len(archive) == taken.bytes
    sent = await restore(wire, "sent", *in_pieces(archive))
    kept = await restore(wire, "kept", kept=("films", taken.name))
    for restored in (sent, kept):
        assert (restored.documents, restored.shards) == (len(FILMS), 2)
        search.collection = restored.name
        assert (await wire.search.Search(search)).hits == expected
    assert list((data_folder / "incoming").iterdir()) == []
    sample = wire.gateway.metrics.registry.get_sample_value
    assert sample("sparsegate_documents", {"collection": "sent"}) == len(FILMS)
    gone = snapshot_pb2.DeleteSnapshotRequest(collection="films", snapshot=taken.name)
    await wire.collections.DeleteSnapshot(gone)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.collections.DeleteSnapshot(gone)
    assert details(caught.value)[:2] == (grpc.StatusCode.NOT_FOUND, "SNAPSHOT_NOT_FOUND")


async def test_bad_archives_are_refused(wire: Wire) -> None:
    await load_movies(wire)
    archive = await download(wire, (await snapshot(wire)).name)
    flipped = bytearray(archive)
    flipped[len(archive) // 2] ^= 1
    for bad in (b"no archive at all", archive[: len(archive) // 2], bytes(flipped), b"\0" * 4096):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await restore(wire, "new", *in_pieces(bad))
        assert details(caught.value)[:2] == (INVALID, "SNAPSHOT_REFUSED")
    names = await wire.collections.List(collection_pb2.ListCollectionsRequest())
    assert [collection.name for collection in names.collections] == ["films"]
    assert not names.problems


async def test_restores_that_cannot_be(wire: Wire) -> None:
    await wire.create()
    taken = await snapshot(wire)
    target = snapshot_pb2.RestoreSnapshotRequest(
        target=snapshot_pb2.RestoreTarget(collection="other")
    )
    cases = [
        (restore(wire, "films", b"x"), "COLLECTION_EXISTS", "name"),
        (restore(wire, "films", kept=("films", taken.name)), "COLLECTION_EXISTS", "name"),
        (restore(wire, "a/b", b"x"), "INVALID_REQUEST", "target.collection"),
        (restore(wire, "new"), "INVALID_REQUEST", "chunk"),
        (restore(wire, "new", b"x", more=(target,)), "INVALID_REQUEST", "target"),
        (restore(wire, "new", kept=("films", "nope")), "SNAPSHOT_NOT_FOUND", ""),
        (restore(wire, "new", kept=("nope", "nope")), "COLLECTION_NOT_FOUND", ""),
        (restore(wire, "new", kept=("films", "../x")), "INVALID_REQUEST", "target.snapshot"),
    ]
    for call, expected, field in cases:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        _, reason, fields = details(caught.value)
        assert reason == expected
        assert not field or fields[0].startswith(field)

    async def chunk_first() -> AsyncIterator[snapshot_pb2.RestoreSnapshotRequest]:
        yield snapshot_pb2.RestoreSnapshotRequest(chunk=b"x")

    async def nothing() -> AsyncIterator[snapshot_pb2.RestoreSnapshotRequest]:
        for part in ():
            yield part

    for parts in (chunk_first(), nothing()):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wire.collections.RestoreSnapshot(parts)
        assert details(caught.value)[1:] == ("INVALID_REQUEST", ["target"])


async def test_an_archive_over_the_limit_is_refused(model_repository: Path) -> None:
    async with serving(model_repository, limits={"max_snapshot_bytes": 10_000}) as wire:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await restore(wire, "new", *[b"x" * 1000] * 11)
    assert details(caught.value) == (INVALID, "SNAPSHOT_REFUSED", ["chunk"])


async def test_a_download_of_nothing(wire: Wire) -> None:
    await wire.create()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await download(wire, "nope")
    assert details(caught.value)[:2] == (grpc.StatusCode.NOT_FOUND, "SNAPSHOT_NOT_FOUND")


async def test_a_collection_that_cannot_be_read_is_told_of(
    model_repository: Path, data_folder: Path
) -> None:
    async with serving(model_repository) as wire:
        await wire.create("good")
        await wire.create("bad")
    (store,) = (data_folder / "collections" / "bad").glob("*.db")
    store.write_bytes(b"not a database" * 1000)
    async with serving(model_repository) as wire:
        reply = await wire.collections.List(collection_pb2.ListCollectionsRequest())
        assert [collection.name for collection in reply.collections] == ["good"]
        assert list(reply.problems) == ["bad"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await describe(wire, "bad")
        assert caught.value.code() == grpc.StatusCode.DATA_LOSS
