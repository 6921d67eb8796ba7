"""Filtered searches against the same searches without a filter."""

from __future__ import annotations

from bench.report import Row
from bench.search.engines import Engines
from bench.search.turns import Job

BAR = 6
_SELECTIVE = 0.011


def run(engines: Engines) -> None:
    """Each filter in turns with the unfiltered search of the same collection, evaluation of the
    filter included."""
    worker = engines.ours()
    facts = worker("shape", "filtered", limit=engines.choices.build_limit)
    passing: dict[str, int] = worker("passing")
    jobs = {name: Job(worker, name, {"collection": "filtered", "filter": name}) for name in passing}
    timings = engines.take_turns(list(jobs.values()), engines.inputs.reported, 10)
    plain = timings[jobs[""]]
    for name, job in jobs.items():
        if not name or job not in timings:
            continue
        share = passing[name] / facts["documents"]
        selective = share <= _SELECTIVE
        engines.add(
            Row(
                BAR,
                f"filter {name}",
                1e3 * timings[job].mean,
                "ms",
                "unfiltered",
                1e3 * plain.mean,
                1.0 if selective else 1.1,
                "<" if selective else "≤",
                note=f"{share:.2%} pass; p95 {1e3 * timings[job].percentile(95):.3f} ms against"
                f" {1e3 * plain.percentile(95):.3f}",
            )
        )
