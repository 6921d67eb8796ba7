"""Engines by what their searches took."""

from __future__ import annotations

from collections.abc import Mapping

from bench.search.turns import Job, Timing
from rich.table import Table


def timings_table(
    title: str, timings: Mapping[Job, Timing], recalls: Mapping[Job, float] | None = None
) -> Table:
    """Engines by their mean, in milliseconds."""
    table = Table(title=title)
    for name in ("engine", "mean ms", "p50", "p95", "p99", *(["recall"] if recalls else [])):
        table.add_column(name, justify="left" if name == "engine" else "right")
    for job, timing in sorted(timings.items(), key=lambda each: each[1].mean):
        percentiles = [f"{1e3 * timing.percentile(share):.3f}" for share in (50, 95, 99)]
        recall = [f"{recalls[job]:.4f}"] if recalls else []
        table.add_row(job.name, f"{1e3 * timing.mean:.3f}", *percentiles, *recall)
    return table
