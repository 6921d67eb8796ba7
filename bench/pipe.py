"""Engines in processes of their own, spoken to over a pipe.

A worker reads pickled pairs of a command and its arguments from its standard input and answers each
by a pickled pair of "ok" or "error" and a value. Needs the standard library alone, so that peers in
other environments can import it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


class EngineFailed(Exception):
    """An engine said why it cannot, died, or ran past its time."""


class Worker:
    """Args:
    command: starts the process.
    threads: of the numerical libraries that read their number from the environment.
    """

    def __init__(self, name: str, command: Sequence[str], *, quiet: bool, threads: int = 1) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            env=os.environ | _threads(threads),
        )

    def __call__(self, command: str, *arguments: object, limit: float = 300.0) -> Any:
        """Raises EngineFailed: also when there is no answer after `limit` seconds."""
        assert self._process.stdin
        assert self._process.stdout
        bell = threading.Timer(limit, self._process.kill)
        bell.start()
        try:
            pickle.dump((command, arguments), self._process.stdin)
            self._process.stdin.flush()
            status, answer = pickle.load(self._process.stdout)  # noqa: S301  of our own child
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            code = self._process.wait()
            late = f"ran past {limit:.0f} s, or was killed" if code == -signal.SIGKILL else ""
            raise EngineFailed(late or f"died with exit code {code}") from error
        finally:
            bell.cancel()
        if status != "ok":
            raise EngineFailed(answer)
        return answer

    def build(self, *arguments: object, limit: float) -> None:
        self.facts = self("build", *arguments, limit=limit)

    def end(self) -> None:
        """Lets the process clean up and go."""
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def answer_calls(engine: object) -> None:
    """The worker's side: calls the engine's methods as it is told, until the other side is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed must not get between the answers
    while True:
        try:
            command, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301  of our parent
        except EOFError:
            return
        try:
            answer = "ok", getattr(engine, command)(*arguments)
        except Exception as error:
            answer = "error", f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


def _threads(number: int) -> dict[str, str]:
    return dict.fromkeys(_THREADS, str(number)) | {"NUMBA_NUM_THREADS": "2"}
