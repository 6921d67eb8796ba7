"""Runs a program and records what it does to the files of one folder, system call by system call.

Calls that change files are made one at a time, whatever the number of threads, so their order is
the order of the events. What the recorder does not understand (a file changed through a mapping,
copied by the kernel, opened with O_SYNC) is an error and never left out; only SQLite's -shm files,
which it builds anew after a crash, are passed over.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from . import calls, ptrace, traced
from .disk import ALL, Disk, read_folder
from .events import Event

_LAUNCHER: Final = Path(traced.__file__)


class RecordingFailed(Exception):
    """The program failed, or did what a replay would not do justice to."""


def unavailable() -> str | None:
    """Why programs cannot be recorded on this machine, or None if they can."""
    if reason := ptrace.missing():
        return reason
    with tempfile.TemporaryDirectory() as folder:
        program = f"import traced; traced.begin(); open({folder!r} + '/x', 'w')"
        try:
            record([sys.executable, "-c", program], Path(folder))
        except (RecordingFailed, OSError) as error:
            return f"recording fails here: {error}"
    return None


def record(
    argv: Sequence[str],
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 120,
) -> list[Event]:
    """What `argv` did below the empty `folder` after it called `traced.begin()`.

    Args:
        argv: a full path of a program, and its arguments; it finds the module `traced`.
        env: the environment variables of the program; None for those of this process.
        timeout_s: the program is killed when it has run that long.

    Raises:
        RecordingFailed: the program did not end well, or did something that is not understood.
    """
    folder = folder.resolve(strict=True)
    if read_folder(folder):
        raise RecordingFailed(f"{folder} is not empty: what was in it would not be in the events")
    # A thread of its own, so that waiting for any child never takes one from somebody else.
    with ThreadPoolExecutor(1) as own_thread, tempfile.TemporaryDirectory() as aside:
        events = own_thread.submit(
            _record, argv, folder, Path(aside), env or os.environ, timeout_s
        ).result()
    _check_complete(events, folder)
    return events


def _record(
    argv: Sequence[str], folder: Path, aside: Path, env: Mapping[str, str], timeout_s: float
) -> list[Event]:
    acks, output = aside / "acks", aside / "output"
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-S", str(_LAUNCHER), *argv],
        _child_environment(env),
        setpgroup=0,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 3, str(acks), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    recorder = _Recorder(child, calls.Calls(folder, acks.resolve()))
    watchdog = threading.Timer(timeout_s, os.killpg, (child, signal.SIGKILL))
    watchdog.start()
    try:
        status = recorder.run()
    except calls.NotUnderstood as error:
        raise RecordingFailed(str(error)) from error
    finally:
        watchdog.cancel()
        recorder.end()
    if status:
        raise RecordingFailed(f"the program ended with {status}: {output.read_text()}")
    return recorder.calls.events


def _child_environment(env: Mapping[str, str]) -> dict[str, str]:
    modules = [str(_LAUNCHER.parent), *filter(None, [env.get("PYTHONPATH")])]
    return {**env, traced.ACKS: "3", "PYTHONPATH": os.pathsep.join(modules)}


def _check_complete(events: Sequence[Event], folder: Path) -> None:
    disk = Disk()
    for event in events:
        disk.apply(event)
    recorded, found = disk.image(ALL), read_folder(folder)
    if recorded != found:
        paths = recorded.keys() | found.keys()
        wrong = [path for path in sorted(paths) if recorded.get(path) != found.get(path)]
        raise RecordingFailed(f"the events do not explain what lies in {folder}: {wrong}")


class _Recorder:
    """Follows one program and all its threads and children; used from one thread."""

    def __init__(self, child: int, seen: calls.Calls) -> None:
        self.calls = seen
        self._child = child
        self._threads = set[int]()
        self._status: int | None = None
        self._names = {
            number: name for name, number in traced.MACHINES[platform.machine()].calls.items()
        }

    def run(self) -> int:
        """Records until the last thread is gone; the exit status, or minus a signal."""
        if self._wait(self._child) is not None:
            ptrace.set_options(self._child)
            ptrace.resume(self._child)
            while (stopped := self._wait(-1)) is not None:
                self._serve(*stopped)
        assert self._status is not None
        return self._status

    def end(self) -> None:
        """Leaves nothing running, whatever went wrong."""
        if self._status is None:
            os.killpg(self._child, signal.SIGKILL)
        while (stopped := self._wait(-1)) is not None:
            ptrace.resume(stopped[0], signal.SIGKILL)

    def _wait(self, thread: int) -> tuple[int, int] | None:
        """The next thread that stopped, and why; None if the one waited for is gone."""
        while True:
            try:
                stopped, status = os.waitpid(thread, ptrace.WALL | ptrace.OWN)
            except ChildProcessError:
                return None
            if os.WIFSTOPPED(status):
                return stopped, status
            self._threads.discard(stopped)
            if stopped == self._child:
                self._status = os.waitstatus_to_exitcode(status)
            if stopped == thread:
                return None

    def _serve(self, thread: int, status: int) -> None:
        sent, event = os.WSTOPSIG(status), status >> 16
        if event == ptrace.EVENT_SECCOMP:
            self._serve_call(ptrace.call(thread))
        elif event or sent == ptrace.STOPPED_IN_CALL:
            ptrace.resume(thread)
        elif sent == signal.SIGSTOP and thread not in self._threads:
            self._threads.add(thread)  # the stop that a new thread starts with is the tracer's own
            ptrace.resume(thread)
        else:
            ptrace.resume(thread, sent)

    def _serve_call(self, call: ptrace.Call) -> None:
        finish = self.calls.entered(self._names[call.number], call)
        if finish is None:
            ptrace.resume(call.thread)
            return
        ptrace.resume_to_exit(call.thread)
        # All other threads that come to such a call wait until this one is through.
        stopped = self._wait(call.thread)
        if stopped is None:
            return
        if os.WSTOPSIG(stopped[1]) != ptrace.STOPPED_IN_CALL:
            raise calls.NotUnderstood(f"{self._names[call.number]} was cut short by a signal")
        finish(ptrace.result(call.thread))
        ptrace.resume(call.thread)
