"""The few steps that make a file survive a power loss."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsegate_server.errors import DataFolderUnusable, StorageFull

_FULL = {errno.ENOSPC, errno.EDQUOT}


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable: those that came, those that went."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def private(path: str, flags: int) -> int:
    """Opens a file that only its owner may read, as all of a data folder."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def replace_file(path: Path, content: bytes) -> None:
    """Gives `path` new content in one step: whoever opens it, also after a power loss, reads all of
    the old or all of the new one."""
    fresh = path.with_name(path.name + ".new")
    number = private(str(fresh), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        _write_all(number, content)
        os.fsync(number)
    finally:
        os.close(number)
    fresh.replace(path)
    sync_folder(path.parent)


def _write_all(number: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(number, rest) :]


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns what the operating system says into errors that say what to do.

    Raises:
        StorageFull, DataFolderUnusable.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                f"no room left on the disk of {folder}: free some, or move the data folder",
                retry_after=5.0,
            ) from error
        raise DataFolderUnusable(
            f"cannot use {error.filename or folder} ({error.strerror}): the gateway needs to read"
            f" and write all of {folder}",
            field="index.folder",
        ) from error
