"""Archive files in pieces: out of a stream into a file, and out of a file into a stream."""

from __future__ import annotations

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from sparsegate.v1 import snapshot_pb2
from sparsegate_server.errors import InvalidRequest, SnapshotRefused, StorageFull

CHUNK = 1 << 20
"""Bytes of one piece that is sent."""

_PREFIX, _SUFFIX = "restore-", ".snapshot"


async def chunks(path: Path) -> AsyncIterator[snapshot_pb2.DownloadSnapshotResponse]:
    """A file, piece by piece; an archive that is deleted meanwhile is still sent to its end."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        size = (await asyncio.to_thread(path.stat)).st_size
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield snapshot_pb2.DownloadSnapshotResponse(chunk=chunk, bytes=size)
    finally:
        await asyncio.to_thread(file.close)


@asynccontextmanager
async def received(
    requests: AsyncIterator[snapshot_pb2.RestoreSnapshotRequest],
    largest: int,
    folder: Path | None = None,
) -> AsyncIterator[Path]:
    """A file of the pieces that follow in a stream; it is gone after the block.

    Args:
        requests: what follows the first message.
        largest: bytes that the file may have.
        folder: where to keep it; the system's folder for temporary files when not given.

    Raises:
        InvalidRequest: a message is no piece, or none comes.
        SnapshotRefused: more bytes than allowed.
        StorageFull: no room for them.
    """
    if folder is not None:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    file = await asyncio.to_thread(_temporary, folder)
    try:
        await fill(file, requests, largest)
        yield Path(file.name)
    finally:
        await asyncio.to_thread(_discard, file)


async def fill(
    file: BinaryIO, requests: AsyncIterator[snapshot_pb2.RestoreSnapshotRequest], largest: int
) -> None:
    """Writes the pieces into a file; raises as `received` does."""
    size = 0
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidRequest("only the first message names the target", field="target")
        size += len(request.chunk)
        if size > largest:
            raise SnapshotRefused(
                f"the archive has more than the {largest} bytes allowed here", field="chunk"
            )
        await asyncio.to_thread(_write, file, request.chunk)
    if not size:
        raise InvalidRequest(
            "no archive follows, and no snapshot is named: give one of the two", field="chunk"
        )
    await asyncio.to_thread(_write, file, b"")


def clear(folder: Path) -> None:
    """Deletes what a gateway that was killed had received."""
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        path.unlink(missing_ok=True)


def _write(file: BinaryIO, chunk: bytes) -> None:
    """Writes and flushes; raises StorageFull."""
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise StorageFull(
            f"no room for the archive in {Path(file.name).parent}: free some and send it again"
        ) from error


def _temporary(folder: Path | None) -> BinaryIO:
    return tempfile.NamedTemporaryFile(  # type: ignore[return-value]
        dir=folder, prefix=_PREFIX, suffix=_SUFFIX, delete=False
    )


def _discard(file: BinaryIO) -> None:
    file.close()
    Path(file.name).unlink(missing_ok=True)
