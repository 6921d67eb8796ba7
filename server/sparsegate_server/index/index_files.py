"""The files of a collection's index, and the manifest that says which of them hold."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sparsegate_server.errors import CorruptIndex, ShuttingDown, SparsegateError
from sparsegate_server.index.files.container import Damaged
from sparsegate_server.index.files.durable import explained, sync_folder
from sparsegate_server.index.files.manifest import Manifest, read_manifest, write_manifest
from sparsegate_server.index.filter.column import Column
from sparsegate_server.index.segment import Segment
from sparsegate_server.index.segment_file import damage, open_segment, write_column, write_segment


class _Made(threading.local):
    """Names of the files that the calling thread's piece of work has made."""

    def __init__(self) -> None:
        self.names: list[str] = []


class IndexFiles:
    """Writes files that nobody reads before the manifest names them.

    Args:
        folder: of the files.
        damaged: is told when a file that holds turns out to be damaged.
        manifest: the one that holds.

    Attributes:
        swapping: held by whoever replaces the manifest, until the contents in memory have followed.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        vocabulary: int,
        *,
        damaged: Callable[[CorruptIndex], None],
    ) -> None:
        self.swapping = threading.Lock()
        self._folder = folder
        self._manifest = manifest
        self._vocabulary = vocabulary
        self._damaged = damaged
        self._numbers = itertools.count(_first_free(manifest.files))
        self._made = _Made()
        self._closed = False

    @property
    def manifest(self) -> Manifest:
        """The one that holds."""
        return self._manifest

    def close(self) -> None:
        """Refuses whatever would change a file from now on: the folder may be another's soon."""
        self._closed = True

    @contextmanager
    def piece(self) -> Iterator[None]:
        """One piece of work. If it fails, the files that it has made are deleted, lest its retries
        fill the disk.

        Raises:
            StorageFull, DataFolderUnusable: the disk does not take a file.
            ShuttingDown: the files are closed.
        """
        self._made.names.clear()
        self._refuse_if_closed()
        try:
            with explained(self._folder):
                yield
        except BaseException:
            self._delete_made()
            raise

    def check(self, segment: Segment) -> None:
        """Reads a segment's whole file. Raises CorruptIndex: it is damaged."""
        path = self._folder / segment.file
        try:
            if wrong := damage(path):
                raise Damaged(path, wrong)
        except CorruptIndex as error:
            self._damaged(error)
            raise

    def write_segment(self, segment: Segment) -> Segment:
        """The same segment over a file of its own, its documents all alive."""
        path = self._new_file("segment")
        write_segment(path, segment, self._manifest.collection, self._vocabulary)
        return open_segment(path, self._manifest.collection, self._vocabulary)

    def write_column(self, segment: Segment, name: str, column: Column) -> Segment:
        """The segment with a column that has a file of its own."""
        path = self._new_file("column")
        write_column(path, column, self._manifest.collection, segment.file)
        return segment.with_column(name, column, path.name)

    def swap(self, manifest: Manifest, sequence: int) -> None:
        """Makes a manifest, whose files are written, the one that holds.

        Args:
            sequence: of the last write that the store has for sure.
        """
        self._refuse_if_closed()
        sync_folder(self._folder)
        fresh = replace(manifest, generation=manifest.generation + 1, sequence=sequence)
        write_manifest(self._folder, fresh)
        self._manifest = fresh

    def delete(self, names: Iterable[str]) -> None:
        """Deletes files that the manifest does not name any more."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def _new_file(self, kind: str) -> Path:
        self._refuse_if_closed()
        name = f"{next(self._numbers):08d}.{kind}"
        self._made.names.append(name)
        return self._folder / name

    def _delete_made(self) -> None:
        try:
            # As it is on disk: the new one may hold though putting it there was reported to fail.
            named = read_manifest(self._folder).files
            self.delete(set(self._made.names) - named)
        except (SparsegateError, OSError):
            pass  # the next start deletes them

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ShuttingDown("the collection was closed or deleted meanwhile")


def _first_free(files: Iterable[str]) -> int:
    """Names are never used again while the index lives, so that none can be mistaken."""
    return 1 + max((int(Path(name).stem) for name in files), default=0)
