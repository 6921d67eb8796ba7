"""Engines in processes of their own, and how they take turns on the same questions.

A worker reads pickled pairs of a command and its arguments from its standard input and answers each
by a pickled pair of "ok" or "error" and a value. Commands that all workers know:

    build(file, documents, questions)  reads and indexes; dict with `build` (seconds), `points`, …
    run(k, point, rows, keep)          seconds of each question, and the answers if `keep`
    threads(k, point, rows, n)         dict with `py1` and `py{n}`, questions a second
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from bench.search.inputs import chunks
from bench.search.truth import Answer
from numpy.typing import NDArray

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
) | {"NUMBA_NUM_THREADS": "2"}
_WARM_UP = 5


class EngineFailed(Exception):
    """An engine said why it cannot, died, or ran past its time."""


class Worker:
    """Args:
    command: starts the process.
    """

    def __init__(self, name: str, command: Sequence[str], *, quiet: bool) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            env=os.environ | _ONE_THREAD,
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


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """An engine with the settings of one search."""

    worker: Worker
    label: str
    point: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.worker.name} {self.label}".strip()


class Timing(NamedTuple):
    """Attributes:
    seconds: float64 [questions], the best of all rounds. answers: parallel, of the first round.
    """

    seconds: NDArray[np.float64]
    answers: list[Answer]

    @property
    def mean(self) -> float:
        return float(self.seconds.mean())

    def percentile(self, share: float) -> float:
        return float(np.percentile(self.seconds, share))


def take_turns(
    jobs: Sequence[Job],
    rows: Sequence[int],
    k: int,
    *,
    rounds: int,
    chunk: int = 50,
) -> tuple[dict[Job, Timing], dict[Job, str]]:
    """Every job searches the same few questions in turn, in random order, so that noise of the
    machine falls on all alike.

    Returns:
        Timings, and why the other jobs have none.
    """
    order = random.Random(0)  # noqa: S311  an order of turns
    timings = {job: Timing(np.full(len(rows), np.inf), []) for job in jobs}
    failed: dict[Job, str] = {}
    for number in range(rounds):
        start = 0
        for some in chunks(rows, chunk):
            for job in order.sample(list(jobs), len(jobs)):
                if job in failed:
                    continue
                best = timings[job].seconds[start : start + len(some)]
                try:
                    if number == start == 0:
                        job.worker("run", k, job.point, some[:_WARM_UP], False)
                    seconds, answers = job.worker("run", k, job.point, some, number == 0)
                except EngineFailed as error:
                    failed[job] = str(error)
                    continue
                np.minimum(best, seconds, out=best)
                timings[job].answers.extend(map(_answer, answers))
            start += len(some)
    return {job: each for job, each in timings.items() if job not in failed}, failed


def _answer(pair: tuple[Iterable[int], Iterable[float]]) -> Answer:
    ids, scores = (np.asarray(each).ravel() for each in pair)
    known = ids.astype(np.int64) >= 0
    return Answer(ids[known].astype(np.int64), scores[known].astype(np.float64))
