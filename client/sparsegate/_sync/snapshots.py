"""Snapshots: a collection at one instant, as one archive file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO, Literal, Unpack

import grpc

from sparsegate import _descriptions
from sparsegate._runtime_sync import in_thread
from sparsegate._status import error_from_call
from sparsegate._sync.connection import Connection, patient
from sparsegate.types import CallOptions, Collection, Snapshot
from sparsegate.v1 import collection_pb2, snapshot_pb2

CHUNK = 1 << 20
"""Bytes of one piece that is sent."""

Progress = Callable[[int, int], object]
"""Is told bytes done and bytes in all."""


class SnapshotCalls(Connection):
    """Without `timeout`, calls that copy a collection may take an hour."""

    def create_snapshot(self, collection: str, **options: Unpack[CallOptions]) -> Snapshot:
        """Takes a snapshot, which the gateway keeps, while the collection is read and written.

        After a lost connection it may be taken twice: it is sent again on `UNAVAILABLE`.

        Raises:
            NotFound: no such collection.
            ResourceExhausted: no room on the gateway's disk.
            SparsegateError: any other failure.
        """
        request = snapshot_pb2.CreateSnapshotRequest(collection=collection)
        reply = self._call(self._collections.CreateSnapshot, request, patient(options))
        return _descriptions.snapshot(reply.snapshot)

    def list_snapshots(self, collection: str, **options: Unpack[CallOptions]) -> list[Snapshot]:
        """The snapshots of a collection, the newest first.

        Raises:
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = snapshot_pb2.ListSnapshotsRequest(collection=collection)
        reply = self._call(self._collections.ListSnapshots, request, options)
        return [_descriptions.snapshot(snapshot) for snapshot in reply.snapshots]

    def delete_snapshot(
        self, collection: str, snapshot: str, **options: Unpack[CallOptions]
    ) -> None:
        """Deletes a snapshot.

        Raises:
            NotFound: no such collection or snapshot.
            SparsegateError: any other failure.
        """
        request = snapshot_pb2.DeleteSnapshotRequest(collection=collection, snapshot=snapshot)
        self._call(self._collections.DeleteSnapshot, request, options)

    def download_snapshot(
        self,
        collection: str,
        snapshot: str,
        path: str | PathLike[str],
        *,
        on_progress: Progress | None = None,
        **options: Unpack[CallOptions],
    ) -> int:
        """Writes the archive of a snapshot to a file, which appears only once it is whole.

        Args:
            collection: name of the collection.
            snapshot: name of the snapshot.
            path: where to write it; what is there is replaced.
            on_progress: is told bytes received and bytes in all.

        Returns:
            The size of the archive in bytes.

        Raises:
            NotFound: no such collection or snapshot.
            OSError: the file cannot be written.
            SparsegateError: any other failure.
        """
        request = snapshot_pb2.DownloadSnapshotRequest(collection=collection, snapshot=snapshot)
        target = Path(path)
        part = target.with_name(f"{target.name}.part")
        try:
            size = self._receive(request, part, on_progress, patient(options))
            in_thread(part.replace, target)
        finally:
            in_thread(part.unlink, True)
        return size

    def restore_snapshot(
        self,
        name: str,
        source: Snapshot | str | PathLike[str],
        *,
        on_progress: Progress | None = None,
        **options: Unpack[CallOptions],
    ) -> Collection:
        """Makes a new collection from a snapshot.

        Args:
            name: of the new collection, which must not be taken: restore beside, then switch the
                alias.
            source: a snapshot that the gateway keeps, or the path of an archive to send.
            on_progress: is told bytes sent and bytes in all.

        Raises:
            AlreadyExists: the name is taken. After a lost connection it may be this very call that
                took it: it is sent again on `UNAVAILABLE`.
            InvalidArgument: an illegal name; an archive that is damaged, too large, or no archive.
            NotFound: no such snapshot.
            OSError: the file cannot be read.
            SparsegateError: any other failure.
        """
        target = snapshot_pb2.RestoreTarget(collection=name)
        if isinstance(source, Snapshot):
            target.snapshot.collection = source.collection
            target.snapshot.snapshot = source.name
            path = None
        else:
            path = Path(source)
            (in_thread(_open, path, "rb")).close()  # gRPC hides what its own iteration raises
        request_id, metadata = self._headers(options)
        try:
            reply: collection_pb2.RestoreSnapshotResponse = self._collections.RestoreSnapshot(
                _parts(target, path, on_progress),
                timeout=patient(options)["timeout"],
                metadata=metadata,
            )
        except grpc.RpcError as error:
            raise error_from_call(error, request_id) from error
        return _descriptions.collection(reply.collection)

    def _receive(
        self,
        request: snapshot_pb2.DownloadSnapshotRequest,
        path: Path,
        on_progress: Progress | None,
        options: CallOptions,
    ) -> int:
        request_id, metadata = self._headers(options)
        size = 0
        file = in_thread(_open, path, "wb")
        try:
            pieces = self._collections.DownloadSnapshot(
                request, timeout=options["timeout"], metadata=metadata
            )
            for piece in pieces:
                in_thread(file.write, piece.chunk)
                size += len(piece.chunk)
                if on_progress is not None:
                    on_progress(size, piece.bytes)
        except grpc.RpcError as error:
            raise error_from_call(error, request_id) from error
        finally:
            in_thread(file.close)
        return size


def _parts(
    target: snapshot_pb2.RestoreTarget, path: Path | None, on_progress: Progress | None
) -> Iterator[snapshot_pb2.RestoreSnapshotRequest]:
    yield snapshot_pb2.RestoreSnapshotRequest(target=target)
    if path is None:
        return
    size, sent = (in_thread(path.stat)).st_size, 0
    file = in_thread(_open, path, "rb")
    try:
        while chunk := in_thread(file.read, CHUNK):
            yield snapshot_pb2.RestoreSnapshotRequest(chunk=chunk)
            sent += len(chunk)
            if on_progress is not None:
                on_progress(sent, size)
    finally:
        in_thread(file.close)


def _open(path: Path, mode: Literal["rb", "wb"]) -> BinaryIO:
    return path.open(mode)
