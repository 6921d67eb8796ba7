"""What each system call of a traced program means for the files of a folder."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import ptrace
from .disk import REBUILT
from .events import (
    Ack,
    Create,
    Event,
    Link,
    Mkdir,
    Rename,
    Resize,
    Rmdir,
    SyncFile,
    SyncFolder,
    Unlink,
    Write,
)
from .ptrace import Call
from .traced import NAMELESS, WRITTEN_THROUGH

Finish = Callable[[int], None]
"""Records a call that succeeded, given what it returned."""

_HERE: Final = -100
"""AT_FDCWD: a path is relative to the working directory."""
_CLONES: Final = (0x40049409, 0x4020940D)
"""FICLONE and FICLONERANGE: a file shares the blocks of another."""
_MAP_ANONYMOUS: Final = 0x20
_KEEP_SIZE: Final = 1
_RENAME_NOREPLACE: Final = 1
_REMOVE_FOLDER: Final = 0x200


class NotUnderstood(Exception):
    """The program changed files in a way that the events cannot tell."""


class Calls:
    """Turns calls into events, for paths below `folder`; lines written to `acks` become Acks."""

    def __init__(self, folder: Path, acks: Path) -> None:
        self.events: list[Event] = []
        self._folder = str(folder)
        self._acks = str(acks)
        # Which file an inode is. One that is freed and used again is seen at its creation.
        self._files: dict[tuple[int, int], int] = {}
        self._created = 0

    def entered(self, name: str, call: Call) -> Finish | None:
        """Looks at a call before it is made.

        Returns:
            What to do with its result, or None if it has nothing to do with the folder.

        Raises:
            NotUnderstood: the call changes the folder in a way that there is no event for.
        """
        handler = _HANDLERS[name]
        finish = handler(self, call)
        if finish is None:
            return None
        return lambda returned: finish(returned) if returned >= 0 else None

    # Names.

    def open(self, call: Call) -> Finish | None:
        return self._open(call, _HERE, call.arguments[0], call.arguments[1])

    def openat(self, call: Call) -> Finish | None:
        return self._open(call, call.arguments[0], call.arguments[1], call.arguments[2])

    def creat(self, call: Call) -> Finish | None:
        return self._open(call, _HERE, call.arguments[0], os.O_CREAT | os.O_TRUNC)

    def _open(self, call: Call, base: int, address: int, flags: int) -> Finish | None:
        path = self._path(call, base, address)
        if path is None:
            return None
        if flags & (WRITTEN_THROUGH | NAMELESS):
            raise NotUnderstood(f"{path} is opened with flags {flags:#o}")
        exists = os.path.lexists(f"{self._folder}/{path}")

        def finish(descriptor: int) -> None:
            if not exists:
                self._created += 1
                self._files[_inode(call.thread, descriptor)] = self._created
                self.events.append(Create(path, self._created))
            elif flags & os.O_TRUNC:
                self.events.append(Resize(path, self._file(path, call.thread, descriptor), 0))

        return finish

    def rename(self, call: Call) -> Finish | None:
        return self._rename(call, _HERE, call.arguments[0], _HERE, call.arguments[1], 0)

    def renameat(self, call: Call) -> Finish | None:
        base, source, new_base, target = call.arguments[:4]
        return self._rename(call, base, source, new_base, target, 0)

    def renameat2(self, call: Call) -> Finish | None:
        base, source, new_base, target, flags = call.arguments[:5]
        return self._rename(call, base, source, new_base, target, flags)

    def _rename(
        self, call: Call, base: int, source: int, new_base: int, target: int, flags: int
    ) -> Finish | None:
        old, new = self._path(call, base, source), self._path(call, new_base, target)
        if old is None and new is None:
            return None
        if old is None or new is None or flags & ~_RENAME_NOREPLACE:
            raise NotUnderstood(f"rename of {old} to {new}, flags {flags}, in or out of the folder")
        return lambda _: self.events.append(Rename(old, new))

    def link(self, call: Call) -> Finish | None:
        return self._link(call, _HERE, call.arguments[0], _HERE, call.arguments[1])

    def linkat(self, call: Call) -> Finish | None:
        base, source, new_base, target = call.arguments[:4]
        return self._link(call, base, source, new_base, target)

    def _link(
        self, call: Call, base: int, source: int, new_base: int, target: int
    ) -> Finish | None:
        old, new = self._path(call, base, source), self._path(call, new_base, target)
        if new is None:
            return None
        if old is None:
            raise NotUnderstood(f"{new} links to a file from elsewhere")
        return lambda _: self.events.append(Link(old, new))

    def unlink(self, call: Call) -> Finish | None:
        return self._remove(self._path(call, _HERE, call.arguments[0]), Unlink)

    def rmdir(self, call: Call) -> Finish | None:
        return self._remove(self._path(call, _HERE, call.arguments[0]), Rmdir)

    def unlinkat(self, call: Call) -> Finish | None:
        base, address, flags = call.arguments[:3]
        removed = Rmdir if flags & _REMOVE_FOLDER else Unlink
        return self._remove(self._path(call, base, address), removed)

    def _remove(self, path: str | None, kind: type[Unlink] | type[Rmdir]) -> Finish | None:
        return None if path is None else lambda _: self.events.append(kind(path))

    def mkdir(self, call: Call) -> Finish | None:
        return self._mkdir(self._path(call, _HERE, call.arguments[0]))

    def mkdirat(self, call: Call) -> Finish | None:
        return self._mkdir(self._path(call, *call.arguments[:2]))

    def _mkdir(self, path: str | None) -> Finish | None:
        return None if path is None else lambda _: self.events.append(Mkdir(path))

    # Content.

    def write(self, call: Call) -> Finish | None:
        descriptor, address, length = call.arguments[:3]
        return self._write(call, lambda: ptrace.memory(call.thread, address, length), descriptor)

    def pwrite64(self, call: Call) -> Finish | None:
        descriptor, address, length, offset = call.arguments[:4]
        return self._write(
            call, lambda: ptrace.memory(call.thread, address, length), descriptor, offset
        )

    def writev(self, call: Call) -> Finish | None:
        return self._write(call, lambda: _gathered(call), call.arguments[0])

    def pwritev(self, call: Call) -> Finish | None:
        offset = call.arguments[3]
        return self._write(call, lambda: _gathered(call), call.arguments[0], offset)

    def pwritev2(self, call: Call) -> Finish | None:
        if call.arguments[5]:
            return self.refuse_descriptor(call)
        offset = call.arguments[3]
        current = offset == 0xFFFFFFFFFFFFFFFF
        return self._write(
            call, lambda: _gathered(call), call.arguments[0], None if current else offset
        )

    def _write(
        self, call: Call, read: Callable[[], bytes], descriptor: int, at: int | None = None
    ) -> Finish | None:
        opened = ptrace.open_file(call.thread, descriptor)
        if opened == self._acks:
            self.events += [Ack(json.loads(line)) for line in read().splitlines()]
            return None
        path = self._inside(opened)
        if path is None:
            return None
        data, file = read(), self._file(path, call.thread, descriptor)

        def finish(written: int) -> None:
            position, flags = _position(call.thread, descriptor)
            if at is not None and flags & os.O_APPEND:
                raise NotUnderstood(f"{path} is written at an offset, but opened to append")
            offset = position - written if at is None else at
            self.events.append(Write(path, file, offset, data[:written]))

        return finish

    def ftruncate(self, call: Call) -> Finish | None:
        return self._resize(call, call.arguments[1])

    def truncate(self, call: Call) -> Finish | None:
        path = self._path(call, _HERE, call.arguments[0])
        if path is None:
            return None
        found = Path(self._folder, path).stat()
        file = self._known(path, (found.st_dev, found.st_ino))
        return lambda _: self.events.append(Resize(path, file, call.arguments[1]))

    def fallocate(self, call: Call) -> Finish | None:
        descriptor, mode, offset, length = call.arguments[:4]
        if mode & ~_KEEP_SIZE:
            return self.refuse_descriptor(call)
        path = self._inside(ptrace.open_file(call.thread, descriptor))
        if path is None or mode:
            return None
        size = Path(f"/proc/{call.thread}/fd/{descriptor}").stat().st_size
        return self._resize(call, max(size, offset + length))

    def _resize(self, call: Call, size: int) -> Finish | None:
        descriptor = call.arguments[0]
        path = self._inside(ptrace.open_file(call.thread, descriptor))
        if path is None:
            return None
        file = self._file(path, call.thread, descriptor)
        return lambda _: self.events.append(Resize(path, file, size))

    def fsync(self, call: Call) -> Finish | None:
        descriptor = call.arguments[0]
        path = self._inside(ptrace.open_file(call.thread, descriptor))
        if path is None:
            return None
        if Path(f"/proc/{call.thread}/fd/{descriptor}").is_dir():
            return lambda _: self.events.append(SyncFolder(path))
        file = self._file(path, call.thread, descriptor)
        return lambda _: self.events.append(SyncFile(path, file))

    # What has no event.

    def mmap(self, call: Call) -> Finish | None:
        if call.arguments[3] & _MAP_ANONYMOUS:
            return None
        return self._refuse(call, call.arguments[4])

    def copy(self, call: Call) -> Finish | None:
        """copy_file_range and splice: from argument 0 to argument 2."""
        return self._refuse(call, call.arguments[2])

    def refuse_descriptor(self, call: Call) -> Finish | None:
        return self._refuse(call, call.arguments[0])

    def _refuse(self, call: Call, descriptor: int) -> Finish | None:
        path = self._inside(ptrace.open_file(call.thread, descriptor))
        if path is not None:
            raise NotUnderstood(f"{path} is changed by call {call}")
        return None

    def ioctl(self, call: Call) -> Finish | None:
        return self.refuse_descriptor(call) if call.arguments[1] in _CLONES else None

    def symlink(self, call: Call) -> Finish | None:
        return self._refuse_path(call, _HERE, call.arguments[1])

    def symlinkat(self, call: Call) -> Finish | None:
        return self._refuse_path(call, call.arguments[1], call.arguments[2])

    def mknod(self, call: Call) -> Finish | None:
        return self._refuse_path(call, _HERE, call.arguments[0])

    def mknodat(self, call: Call) -> Finish | None:
        return self._refuse_path(call, *call.arguments[:2])

    def _refuse_path(self, call: Call, base: int, address: int) -> Finish | None:
        path = self._path(call, base, address)
        if path is not None:
            raise NotUnderstood(f"{path} becomes what is neither a file nor a folder")
        return None

    def refuse(self, call: Call) -> Finish | None:
        raise NotUnderstood(f"the program makes call {call}")

    # Where things are.

    def _path(self, call: Call, base: int, address: int) -> str | None:
        """The path in a call's arguments, from the folder, or None if it is elsewhere."""
        path = ptrace.text(call.thread, address)
        if not path.startswith("/"):
            descriptor = _signed(base)
            start = (
                str(Path(f"/proc/{call.thread}/cwd").readlink())
                if descriptor == _HERE
                else ptrace.open_file(call.thread, descriptor)
            )
            path = f"{start}/{path}"
        path = path.rstrip("/")
        parent, name = os.path.split(path)
        return self._inside(os.path.normpath(f"{os.path.realpath(parent)}/{name}"))

    def _inside(self, path: str | None) -> str | None:
        if path is None or path.endswith(REBUILT):
            return None
        path = path.removesuffix(" (deleted)")
        if path == self._folder:
            return "."
        found = path.removeprefix(f"{self._folder}/")
        return None if found == path or path.endswith(REBUILT) else found

    def _file(self, path: str, thread: int, descriptor: int) -> int:
        return self._known(path, _inode(thread, descriptor))

    def _known(self, path: str, inode: tuple[int, int]) -> int:
        if inode not in self._files:
            raise NotUnderstood(f"{path} was created before the recording began")
        return self._files[inode]


def _inode(thread: int, descriptor: int) -> tuple[int, int]:
    found = Path(f"/proc/{thread}/fd/{descriptor}").stat()
    return found.st_dev, found.st_ino


def _position(thread: int, descriptor: int) -> tuple[int, int]:
    """Where an open file is written next, and the flags it was opened with."""
    with open(f"/proc/{thread}/fdinfo/{descriptor}", encoding="ascii") as lines:  # noqa: PTH123
        position, flags = next(lines), next(lines)
    return int(position.split()[1]), int(flags.split()[1], 8)


def _gathered(call: Call) -> bytes:
    """The data of a writev: an array of addresses and lengths, then what they point to."""
    address, count = call.arguments[1:3]
    pieces = struct.iter_unpack("PN", ptrace.memory(call.thread, address, 16 * count))
    return b"".join(ptrace.memory(call.thread, start, length) for start, length in pieces)


def _signed(descriptor: int) -> int:
    """A C int out of a register."""
    return int(struct.unpack("i", struct.pack("I", descriptor & 0xFFFFFFFF))[0])


_HANDLERS: Final[dict[str, Callable[[Calls, Call], Finish | None]]] = {
    name: getattr(Calls, name)
    for name in (
        *("open", "openat", "creat", "rename", "renameat", "renameat2", "link", "linkat"),
        *("unlink", "rmdir", "unlinkat", "mkdir", "mkdirat", "symlink", "symlinkat"),
        *("mknod", "mknodat", "write", "pwrite64", "writev", "pwritev", "pwritev2"),
        *("ftruncate", "truncate", "fallocate", "fsync", "mmap", "ioctl"),
    )
} | {
    "fdatasync": Calls.fsync,
    "sendfile": Calls.refuse_descriptor,
    "copy_file_range": Calls.copy,
    "splice": Calls.copy,
    "sync": Calls.refuse,
    "syncfs": Calls.refuse_descriptor,
    "io_uring_setup": Calls.refuse,
    "openat2": Calls.refuse,
}
