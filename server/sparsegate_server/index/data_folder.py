"""The folder that holds all collections of a gateway: its lock, its collections, their aliases.

LOCK                held by the process that serves the folder
ALIASES             other names of collections, replaced in one step
collections/NAME    a collection; a folder appears and disappears with one rename
snapshots/NAME      archives of a collection; they outlive it
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from sparsegate_server.errors import CorruptStore, DataFolderLocked
from sparsegate_server.index import recovery
from sparsegate_server.index.archive import sweep
from sparsegate_server.index.files.checked_json import read_checked, write_checked
from sparsegate_server.index.files.durable import explained, sync_folder

_COLLECTIONS: Final = "collections"
_SNAPSHOTS: Final = "snapshots"
_ALIASES: Final = "ALIASES"
_UNFINISHED: Final = "."
"""First character of folders that are being made or deleted; no collection's name begins so."""


class DataFolder:
    """An opened and locked folder, made if it is missing.

    Raises:
        DataFolderLocked: another process has it open.
        DataFolderUnusable, StorageFull: missing rights, a read-only or full disk.
        CorruptStore: the file of aliases is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path):
            _make_folder(path)
            self._lock = self._locked()
            try:
                self._collections = self._part(_COLLECTIONS)
                self._snapshots = self._part(_SNAPSHOTS)
                self._sweep()
                self.aliases = self._read_aliases()
            except BaseException:
                os.close(self._lock)
                raise

    def close(self) -> None:
        """Lets go of the lock. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def names(self) -> list[str]:
        """Of all collections."""
        return sorted(
            each.name for each in self._collections.iterdir() if each.name[0] != _UNFINISHED
        )

    def collection(self, name: str) -> Path:
        return self._collections / name

    def prepare(self, make: Callable[[Path], None]) -> Path:
        """Has `make` fill a new folder, which is no collection yet and is deleted if it fails."""
        unfinished = self._unfinished()
        try:
            with explained(self.path):
                make(unfinished)
        except BaseException:
            recovery.remove(unfinished)
            raise
        return unfinished

    def install(self, prepared: Path, name: str) -> Path:
        """Makes a prepared folder a collection: it is there, durably, when this returns."""
        with explained(self.path):
            prepared.rename(self.collection(name))
            sync_folder(self._collections)
            return self.collection(name)

    def discard(self, name: str) -> Path:
        """Makes a collection's folder none: it is gone, durably, when this returns. What is
        returned is left to delete."""
        with explained(self.path):
            gone = self._unfinished()
            self.collection(name).rename(gone)
            sync_folder(self._collections)
            return gone

    def set_aliases(self, aliases: Mapping[str, str]) -> None:
        """All aliases, in one step."""
        with explained(self.path):
            write_checked(self.path / _ALIASES, dict(aliases))
            self.aliases = dict(aliases)

    def snapshots(self, name: str) -> Path:
        """The folder of a collection's archives; it may not exist yet."""
        return self._snapshots / name

    def make_snapshots(self, name: str) -> Path:
        """The same, which exists then, durably."""
        with explained(self.path):
            folder = self.snapshots(name)
            folder.mkdir(exist_ok=True)
            sync_folder(self._snapshots)
            return folder

    def _locked(self) -> int:
        number = os.open(self.path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(number, 32).decode(errors="replace").strip() or "unknown"
            os.close(number)
            raise DataFolderLocked(
                f"{self.path} is open in another process (pid {owner}): stop it, or choose another"
                " data folder with --data or index.folder",
                field="index.folder",
            ) from None
        os.ftruncate(number, 0)
        os.write(number, f"{os.getpid()}\n".encode())
        return number

    def _part(self, name: str) -> Path:
        part = self.path / name
        part.mkdir(exist_ok=True)
        sync_folder(self.path)
        return part

    def _unfinished(self) -> Path:
        return self._collections / f"{_UNFINISHED}{uuid.uuid4().hex}"

    def _sweep(self) -> None:
        """Deletes what was being made or deleted when the last process ended."""
        for folder in self._collections.glob(f"{_UNFINISHED}*"):
            recovery.remove(folder)
        for folder in self._snapshots.iterdir():
            sweep(folder)
        (self.path / f"{_ALIASES}.new").unlink(missing_ok=True)

    def _read_aliases(self) -> dict[str, str]:
        path = self.path / _ALIASES
        try:
            aliases: dict[str, str] = read_checked(path)
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise CorruptStore(
                f"{path} is damaged: delete it, then set the aliases again",
                metadata={"file": str(path)},
            ) from error
        return aliases


def _make_folder(path: Path) -> None:
    """Makes a folder and those above it, as far as they are missing, and their names durable.

    A folder that is there may have been made by a process that died before it could do the rest.
    """
    above = path.absolute().parent
    if not path.is_dir():
        _make_folder(above)
        path.mkdir(exist_ok=True)
    with suppress(PermissionError):  # a folder above that is not ours to read has been there before
        sync_folder(above)
