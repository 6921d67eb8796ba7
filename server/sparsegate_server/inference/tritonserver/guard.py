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
from pathlib import Path

_PR_SET_PDEATHSIG = 1


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
    sys.stdin.buffer.read()
    server.terminate()
    try:
        server.wait(grace)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
