"""Stands between a parent process and the server it started, so that the server never outlives it.

    python guard.py GRACE_SECONDS SHARED_MEMORY_PREFIX COMMAND...

Prints the server's process id, then waits. When the parent closes our standard input, by intent or
by dying, the server gets SIGTERM and, after the grace, its whole process group SIGKILL. At the end
the shared memory that the server may have left is removed, and its exit code is ours. A script of
its own that needs nothing but the standard library, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.05
_LINGER_SECONDS = 2.0


def main() -> int:
    grace, prefix, *command = sys.argv[1:]
    libc = ctypes.CDLL(None)

    def follow_us() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    # One thread so far, and the one that lives longest: both matter to the call before exec.
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        start_new_session=True,
        preexec_fn=follow_us,  # noqa: PLW1509
    )
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    threading.Thread(target=_stop_at_end_of_input, args=(server, float(grace)), daemon=True).start()
    code = server.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    for leftover in Path("/dev/shm").glob(f"{prefix}*"):  # noqa: S108
        leftover.unlink(missing_ok=True)
    return code if code >= 0 else 128 - code


def _stop_at_end_of_input(server: subprocess.Popen[bytes], grace: float) -> None:
    # Unbuffered, because a thread inside a buffered read breaks the interpreter's own exit.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    server.terminate()
    until = time.monotonic() + grace
    while time.monotonic() < until and _has_children(server.pid):
        time.sleep(_POLL_SECONDS)
    # The models' processes end when every request has been answered. After that the server may
    # still wait 10 s for nothing, which nobody needs to sit through.
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(_LINGER_SECONDS)
        return
    os.killpg(server.pid, signal.SIGKILL)


def _has_children(pid: int) -> bool:
    """Whether a process has child processes; also true where the kernel does not say."""
    try:
        lists = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return Path(f"/proc/{pid}").exists()
    return any(lists) if lists else Path(f"/proc/{pid}").exists()


if __name__ == "__main__":
    sys.exit(main())
