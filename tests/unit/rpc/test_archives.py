"""Archives in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sparsegate.v1 import snapshot_pb2 as pb
from sparsegate_server.errors import InvalidRequest, SnapshotRefused, StorageFull
from sparsegate_server.rpc import archives


async def sent(*pieces: bytes | None) -> AsyncIterator[pb.RestoreSnapshotRequest]:
    for piece in pieces:
        target = pb.RestoreTarget(collection="a") if piece is None else None
        yield pb.RestoreSnapshotRequest(target=target, chunk=piece)


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_what_is_sent_is_what_is_received(tmp_path: Path) -> None:
    content = bytes(range(256)) * (archives.CHUNK // 100)
    source = tmp_path / "source"
    source.write_bytes(content)
    pieces = [piece async for piece in archives.chunks(source)]
    assert {piece.bytes for piece in pieces} == {len(content)}
    assert max(len(piece.chunk) for piece in pieces) == archives.CHUNK
    scratch = tmp_path / "new" / "scratch"
    requests = sent(*(piece.chunk for piece in pieces))
    async with archives.received(requests, len(content), scratch) as path:
        assert path.parent == scratch
        assert path.read_bytes() == content
    assert files(scratch) == []


async def test_too_much_is_refused_and_forgotten(tmp_path: Path) -> None:
    with pytest.raises(SnapshotRefused, match="more than the 9 bytes"):
        async with archives.received(sent(b"12345", b"67890"), 9, tmp_path):
            raise AssertionError
    assert files(tmp_path) == []


async def test_a_second_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        async with archives.received(sent(b"1", None), 9, tmp_path):
            raise AssertionError
    assert caught.value.field == "target"
    assert files(tmp_path) == []


async def test_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no archive"):
        async with archives.received(sent(), 9, tmp_path):
            raise AssertionError


async def test_whatever_happens_the_file_is_gone(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        async with archives.received(sent(b"1"), 9, tmp_path):
            raise KeyError
    assert files(tmp_path) == []


async def test_a_full_disk_is_said_to_be_full() -> None:
    full = await asyncio.to_thread(Path("/dev/full").open, "wb", 0)
    with full, pytest.raises(StorageFull, match="no room"):
        await archives.fill(full, sent(b"1"), 9)


def test_what_a_killed_gateway_left_is_cleared(tmp_path: Path) -> None:
    archives.clear(tmp_path / "missing")
    (tmp_path / "restore-x.snapshot").write_bytes(b"1")
    (tmp_path / "other").write_bytes(b"1")
    archives.clear(tmp_path)
    assert files(tmp_path) == [tmp_path / "other"]
