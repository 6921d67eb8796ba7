"""ptrace(2) by ctypes: what a tracer asks of the kernel, and the memory of the traced."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import platform
import signal
import struct
from pathlib import Path
from typing import Final, NamedTuple

from .traced import MACHINES

_CONT, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 7, 24, 0x4200, 0x420E
_TRACESYSGOOD, _TRACEFORK, _TRACEVFORK, _TRACECLONE = 1, 2, 4, 8
_TRACEEXEC, _TRACESECCOMP, _EXITKILL = 16, 128, 0x100000
_OPTIONS: Final = (
    _TRACESYSGOOD | _TRACEFORK | _TRACEVFORK | _TRACECLONE | _TRACEEXEC | _TRACESECCOMP | _EXITKILL
)

WALL: Final = 0x40000000
"""waitpid: threads as well as processes."""
OWN: Final = 0x20000000
"""waitpid: only what this very thread started or traces."""
STOPPED_IN_CALL: Final = signal.SIGTRAP | 0x80
EVENT_SECCOMP: Final = 7

_INFO_BYTES: Final = 88
_EXIT, _SECCOMP = 2, 3


class Call(NamedTuple):
    """A system call that thread `thread` is about to make."""

    thread: int
    number: int
    arguments: tuple[int, ...]


def missing() -> str | None:
    """Why nothing can be traced here, or None if it can be tried."""
    if platform.system() != "Linux" or platform.machine() not in MACHINES:
        return f"no tracing of system calls on {platform.system()} {platform.machine()}"
    release = tuple(int(part) for part in platform.release().split(".")[:2] if part.isdigit())
    if release < (5, 3):
        return f"Linux {platform.release()} cannot describe a stopped system call"
    return None


def set_options(thread: int) -> None:
    """Follow threads, children and programs; stop at filtered calls; die with the tracer."""
    _ptrace(_SETOPTIONS, thread, 0, _OPTIONS)


def resume(thread: int, sent: int = 0) -> None:
    """Lets it run, with signal `sent` delivered; one that was killed meanwhile is let rest."""
    with contextlib.suppress(ProcessLookupError):
        _ptrace(_CONT, thread, 0, sent)


def resume_to_exit(thread: int) -> None:
    """Lets a thread that stopped before its call make it, and stop behind it."""
    with contextlib.suppress(ProcessLookupError):
        _ptrace(_SYSCALL, thread, 0, 0)


def call(thread: int) -> Call:
    """The call that a filter stopped `thread` at."""
    kind, number, *arguments = struct.unpack_from("B23x7Q", _info(thread))
    if kind != _SECCOMP:
        raise RuntimeError(f"thread {thread} stopped at no filtered call, but at {kind}")
    return Call(thread, number, tuple(arguments[:6]))


def result(thread: int) -> int:
    """What the call that `thread` has just made returned; below zero if it failed."""
    kind, returned = struct.unpack_from("B23xq", _info(thread))
    if kind != _EXIT:
        raise RuntimeError(f"thread {thread} stopped behind no call, but at {kind}")
    return int(returned)


def memory(thread: int, address: int, length: int) -> bytes:
    """`length` bytes at `address`."""
    if not length:
        return b""
    buffer = ctypes.create_string_buffer(length)
    here = struct.pack("PN", ctypes.addressof(buffer), length)
    there = struct.pack("PN", address, length)
    copied = _libc().process_vm_readv(thread, here, 1, there, 1, 0)
    if copied < 0:
        raise OSError(ctypes.get_errno(), f"cannot read memory of thread {thread}")
    return buffer.raw[:copied]


def text(thread: int, address: int) -> str:
    """The zero-terminated path at `address`."""
    found = b""
    while b"\0" not in found:
        # Never across the end of a page, behind which there may be nothing.
        found += memory(thread, address + len(found), 4096 - (address + len(found)) % 4096)
    return os.fsdecode(found.split(b"\0", 1)[0])


def open_file(thread: int, descriptor: int) -> str | None:
    """The path that `descriptor` was opened by, as it is called now; None if it is not open."""
    try:
        return str(Path(f"/proc/{thread}/fd/{descriptor}").readlink())
    except FileNotFoundError:
        return None


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    pointer = ctypes.c_void_p
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, pointer, pointer]
    libc.ptrace.restype = ctypes.c_long
    pieces = (pointer, ctypes.c_ulong)
    libc.process_vm_readv.argtypes = [ctypes.c_long, *pieces, *pieces, ctypes.c_ulong]
    libc.process_vm_readv.restype = ctypes.c_ssize_t
    return libc


def _info(thread: int) -> bytes:
    buffer = ctypes.create_string_buffer(_INFO_BYTES)
    _ptrace(_GET_SYSCALL_INFO, thread, _INFO_BYTES, ctypes.addressof(buffer))
    return buffer.raw


def _ptrace(request: int, thread: int, address: int, data: int) -> int:
    returned = int(_libc().ptrace(request, thread, address, data))
    if returned < 0:
        number = ctypes.get_errno()
        if number == errno.ESRCH:
            raise ProcessLookupError(number, f"thread {thread} is gone")
        raise OSError(number, f"ptrace {request} of thread {thread}: {os.strerror(number)}")
    return returned
