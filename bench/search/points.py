"""Which settings of an engine to report, chosen on other questions than those reported on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bench.pipe import Worker
from bench.search.engines import Engines
from bench.search.turns import Job

TARGET = 0.97
_NEAREST = 0.005
_TUNING_ROUNDS = 1


class Tuned(NamedTuple):
    """A job's mean seconds and recall@10 on the tuning questions."""

    job: Job
    seconds: float
    recall: float


def points_of(worker: Worker) -> list[Job]:
    """The settings that the harness lists for a peer."""
    return [Job(worker, label, point) for label, point in worker.facts["points"].items()]


def more_points_of(worker: Worker) -> list[Job]:
    """The same and a finer grid, where the harness lists only some: a peer is judged by its best
    setting."""
    return points_of(worker) + [
        Job(worker, label, point) for label, point in _grid(worker.name).items()
    ]


def _grid(name: str) -> dict[str, dict[str, Any]]:
    if name.startswith("sindi-"):
        return {
            f"prune {prune} candidates {candidates}k": {"query_prune": prune, "cand": candidates}
            for prune, candidates in itertools.product((0.1, 0.2, 0.3, 0.4, 0.5), (2, 3, 5, 10))
        }
    if name.startswith("seismic"):
        return {
            f"cut {cut} factor {factor}": {"cut": cut, "hf": factor}
            for cut, factor in itertools.product((4, 6, 8, 10, 12, 15), (0.7, 0.8, 0.9))
        }
    return {}


def tune(engines: Engines, jobs: Sequence[Job]) -> list[Tuned]:
    """What each job does on the tuning questions."""
    rows = engines.inputs.tuning
    timings = engines.take_turns(jobs, rows, 10, rounds=_TUNING_ROUNDS)
    return [
        Tuned(job, timing.mean, engines.truth.recall(rows, timing.answers, 10))
        for job, timing in timings.items()
    ]


def chosen(tuned: Sequence[Tuned], good: Callable[[Tuned], bool]) -> list[Job]:
    """For each engine its fastest job among the good ones, if there is one."""
    best: dict[str, Tuned] = {}
    for each in tuned:
        name = each.job.worker.name
        if good(each) and (name not in best or each.seconds < best[name].seconds):
            best[name] = each
    return [each.job for each in best.values()]


def nearest(engines: Engines, workers: Sequence[Worker]) -> list[Job]:
    """For each engine its fastest setting of those whose recall comes near its own best."""
    fresh = [worker for worker in workers if worker.name not in engines.nearest]
    jobs = {worker: points_of(worker) for worker in fresh}
    several = [job for each in jobs.values() if len(each) > 1 for job in each]
    tuned = tune(engines, several) if several else []
    best: dict[str, float] = {}
    for each in tuned:
        name = each.job.worker.name
        best[name] = max(best.get(name, 0.0), each.recall)
    single = [each[0] for each in jobs.values() if len(each) == 1]
    near = chosen(tuned, lambda it: it.recall >= best[it.job.worker.name] - _NEAREST)
    engines.nearest |= {job.worker.name: job for job in [*single, *near]}
    return [engines.nearest[each.name] for each in workers if each.name in engines.nearest]
