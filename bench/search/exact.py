"""Exact search: one merged segment, deep results, and a collection that is being written to."""

from __future__ import annotations

import numpy as np
from bench.report import Row
from bench.search import points
from bench.search.engines import Engines
from bench.search.report import timings_table
from bench.search.turns import Job, Timing

_MERGED = 1
_DEEP = 2
_LAYERED = 3


def merged(engines: Engines) -> None:
    """k = 10 over one segment, beside every peer."""
    ours = Job(engines.ours(), "exact")
    peers = points.nearest(engines, engines.peers(engines.choices.exact))
    timings = _timed(engines, [ours, *peers], 10, "one merged segment, k = 10")
    mine = timings[ours]
    judged = engines.sindi()
    engines.add(*_alone(_MERGED, "exact, k = 10", mine) if judged is None else ())
    for job in peers:
        if job in timings:
            bound = 0.5 if job.worker is judged else None
            engines.add(*_against(_MERGED, "exact, k = 10", mine, job, timings[job], bound))


def deep(engines: Engines) -> None:
    """k = 1000, beside SINDI and whoever else is exact."""
    ours = Job(engines.ours(), "exact")
    exact = [each for each in engines.peers(engines.choices.exact) if each.facts["exact"]]
    peers = [job for each in exact for job in points.points_of(each)]
    timings = _timed(engines, [ours, *peers], 1000, "one merged segment, k = 1000")
    judged = engines.sindi()
    if judged is None:
        engines.add(*_alone(_DEEP, "exact, k = 1000", timings[ours])[:1])
    for job in peers:
        if job in timings:
            bound = 0.6 if job.worker is judged else None
            mean, _ = _against(_DEEP, "exact, k = 1000", timings[ours], job, timings[job], bound)
            engines.add(mean)


def layered(engines: Engines) -> None:
    """Eight segments, a twentieth of them dead, and a tail, against one merged segment."""
    worker = engines.ours()
    facts = worker("shape", "layered", limit=engines.choices.build_limit)
    one, many = Job(worker, "merged"), Job(worker, "layered", {"collection": "layered"})
    shape = f"{facts['segments']} segments, {facts['dead']:,} dead, tail of {facts['tail']}"
    timings = _timed(engines, [one, many], 10, f"{shape}, k = 10")
    same = float(
        np.mean(
            [
                np.array_equal(a.ids, b.ids) and np.array_equal(a.scores, b.scores)
                for a, b in zip(timings[one].answers, timings[many].answers, strict=True)
            ]
        )
    )
    engines.add(
        Row(
            _LAYERED,
            f"exact, k = 10, {shape}",
            1e3 * timings[many].mean,
            "ms",
            "merged",
            1e3 * timings[one].mean,
            1.5,
            note=f"the same answers for {same:.1%}",
        )
    )


def _timed(engines: Engines, jobs: list[Job], k: int, title: str) -> dict[Job, Timing]:
    rows = engines.inputs.reported
    timings = engines.take_turns(jobs, rows, k)
    recalls = {
        job: engines.truth.recall(rows, timing.answers, k) for job, timing in timings.items()
    }
    engines.console.print(timings_table(title, timings, recalls))
    return timings


def _against(
    bar: int, what: str, mine: Timing, job: Job, theirs: Timing, bound: float | None
) -> tuple[Row, Row]:
    """The mean and the 95th percentile."""
    return (
        Row(bar, f"{what}, mean", 1e3 * mine.mean, "ms", job.name, 1e3 * theirs.mean, bound),
        Row(
            bar,
            f"{what}, p95",
            1e3 * mine.percentile(95),
            "ms",
            job.name,
            1e3 * theirs.percentile(95),
            bound,
        ),
    )


def _alone(bar: int, what: str, mine: Timing) -> list[Row]:
    return [
        Row(bar, f"{what}, mean", 1e3 * mine.mean, "ms"),
        Row(bar, f"{what}, p95", 1e3 * mine.percentile(95), "ms"),
    ]
