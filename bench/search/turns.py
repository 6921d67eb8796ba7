"""How engines, in processes of their own, take turns on the same questions.

Commands that all workers know:

    build(file, documents, questions)  reads and indexes; dict with `build` (seconds), `points`, …
    run(k, point, rows, keep)          seconds of each question, and the answers if `keep`
    threads(k, point, rows, n)         dict with `py1` and `py{n}`, questions a second
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from bench.pipe import EngineFailed, Worker
from bench.search.inputs import chunks
from bench.search.truth import Answer
from numpy.typing import NDArray

_WARM_UP = 5


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
