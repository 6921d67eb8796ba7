"""The side of the recorded program: it starts traced, says when to record, and acknowledges.

Imported by workloads as the top-level module `traced`, so it knows nothing but the standard
library. Without a recorder around it a workload runs as it is and prints what it acknowledges.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import struct
import sys
from typing import Any, Final, NamedTuple, NoReturn

ACKS: Final = "SPARSEGATE_TEST_ACKS"
"""The environment variable with the file descriptor that acknowledgements are written to."""

PTRACE_TRACEME: Final = 0


class Machine(NamedTuple):
    """An instruction set: its number in the audit code, and those of its system calls."""

    audit: int
    seccomp: int
    calls: dict[str, int]


_EVERYWHERE: Final = {"io_uring_setup": 425, "openat2": 437}

MACHINES: Final = {
    "x86_64": Machine(
        0xC000003E,
        317,
        {
            **{"write": 1, "open": 2, "mmap": 9, "ioctl": 16, "pwrite64": 18, "writev": 20},
            **{"sendfile": 40, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77},
            **{"rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87},
            **{"symlink": 88, "mknod": 133, "sync": 162, "openat": 257, "mkdirat": 258},
            **{"mknodat": 259, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266},
            **{"splice": 275, "fallocate": 285, "pwritev": 296, "syncfs": 306, "renameat2": 316},
            **{"copy_file_range": 326, "pwritev2": 328},
            **_EVERYWHERE,
        },
    ),
    "aarch64": Machine(
        0xC00000B7,
        277,
        {
            **{"ioctl": 29, "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36},
            **{"linkat": 37, "renameat": 38, "truncate": 45, "ftruncate": 46, "fallocate": 47},
            **{"openat": 56, "write": 64, "writev": 66, "pwrite64": 68, "pwritev": 70},
            **{"sendfile": 71, "splice": 76, "sync": 81, "fsync": 82, "fdatasync": 83},
            **{"mmap": 222, "syncfs": 267, "renameat2": 276, "copy_file_range": 285},
            **{"pwritev2": 287},
            **_EVERYWHERE,
        },
    ),
}

NAMELESS: Final = getattr(os, "O_TMPFILE", 0) & ~os.O_DIRECTORY
WRITTEN_THROUGH: Final = os.O_SYNC | os.O_DSYNC
OPEN_CHANGES: Final = os.O_CREAT | os.O_TRUNC | NAMELESS | WRITTEN_THROUGH
"""Any of these flags makes an `open` one to look at."""

# Of calls that are frequent and mostly harmless: (argument, bits), each of which must be set.
_WITH_BITS: Final = {
    "open": [(1, OPEN_CHANGES)],
    "openat": [(2, OPEN_CHANGES)],
    "mmap": [(2, 0x2), (3, 0x1)],  # PROT_WRITE, MAP_SHARED
}

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _TRACE, _KILL = 0x7FFF0000, 0x7FF00000, 0x80000000
_AT_NUMBER, _AT_ARCHITECTURE, _AT_ARGUMENTS = 0, 4, 16


def begin() -> None:
    """From here on, in all threads and children of this process, changes of files are recorded.

    Does nothing if no recorder started this program.
    """
    if ACKS not in os.environ:
        return
    machine = MACHINES[platform.machine()]
    code = _filter(machine)
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(instructions))
    set_filter, all_threads, no_new_privileges = 1, 1, 38
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.syscall(
        machine.seccomp, set_filter, all_threads, program
    ):
        raise OSError(ctypes.get_errno(), "cannot filter system calls")


def acknowledge(content: Any) -> None:
    """Says that something is done; `content` is what JSON can hold."""
    line = f"{json.dumps(content)}\n".encode()
    os.write(int(os.environ.get(ACKS, "1")), line)


def _filter(machine: Machine) -> bytes:
    """Classic BPF: stop at the calls of interest, let all others run at full speed."""
    lines = [
        _line(_LOAD, _AT_ARCHITECTURE),
        _line(_EQUAL, machine.audit, yes=1),
        _line(_RETURN, _KILL),  # a 32-bit program would pass unseen
        _line(_LOAD, _AT_NUMBER),
    ]
    for name, number in machine.calls.items():
        found = [_line(_RETURN, _TRACE)]
        for argument, bits in reversed(_WITH_BITS.get(name, [])):
            load = _line(_LOAD, _AT_ARGUMENTS + 8 * argument)  # little endian: the lower half
            found = [load, _line(_ANY_BIT, bits, yes=1), _line(_RETURN, _ALLOW), *found]
        lines += [_line(_EQUAL, number, no=len(found)), *found]
    return b"".join([*lines, _line(_RETURN, _ALLOW)])


def _line(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """One instruction, with how many to skip after a comparison."""
    return struct.pack("HBBI", code, yes, no, value)


def _main(argv: list[str]) -> NoReturn:
    """Asks to be traced by the parent, waits for it, and becomes the program `argv`."""
    if ctypes.CDLL(None, use_errno=True).ptrace(PTRACE_TRACEME, 0, None, None):
        raise OSError(ctypes.get_errno(), "cannot be traced")
    os.kill(os.getpid(), signal.SIGSTOP)
    os.execv(argv[0], argv)  # noqa: S606


if __name__ == "__main__":
    _main(sys.argv[1:])
