"""Fast search: less effort for a recall that is chosen on other questions."""

from __future__ import annotations

from bench.report import Row, plain_table
from bench.search import points
from bench.search.engines import SINDI, Engines
from bench.search.points import TARGET
from bench.search.report import timings_table
from bench.search.turns import Job

BAR = 4
EFFORTS = tuple(share / 100 for share in (2, *range(5, 80, 5), *range(80, 101)))
_MARGIN = 0.005
"""By which our own recall must be above the target on the tuning questions. Peers need none."""


def run(engines: Engines) -> None:
    """Our effort against SINDI's exact search, and against every peer at the same recall."""
    mine = _ours(engines)
    theirs = _theirs(engines)
    sindi = engines.sindi()
    exact = points.points_of(sindi) if sindi else []
    rows = engines.inputs.reported
    timings = engines.take_turns([mine, *exact, *theirs], rows, 10)
    recalls = {job: engines.truth.recall(rows, each.answers, 10) for job, each in timings.items()}
    title = f"settings with recall@10 of {TARGET} on the tuning questions, k = 10"
    engines.console.print(timings_table(title, timings, recalls))
    said = mine.worker("facts_of", 10, mine.point, list(rows))
    engines.add(
        Row(
            BAR,
            f"fast, {mine.label}: recall@10",
            recalls[mine],
            "",
            required=TARGET,
            sense="≥",
            absolute=True,
            note=f"{said['postings']:,.0f} postings scored, {said['skipped']:,.0f} blocks skipped,"
            f" {said['approximate']:.0%} approximate",
        )
    )
    for job in [*exact, *theirs]:
        if job in timings:
            same = job not in exact
            engines.add(
                Row(
                    BAR,
                    f"fast, {mine.label}: mean",
                    1e3 * timings[mine].mean,
                    "ms",
                    job.name,
                    1e3 * timings[job].mean,
                    1.0 if same else 0.25,
                    "<" if same else "≤",
                    note=f"its recall@10 {recalls[job]:.4f}",
                )
            )
    if not exact:
        engines.add(Row(BAR, f"fast, {mine.label}: mean", 1e3 * timings[mine].mean, "ms"))


def _ours(engines: Engines) -> Job:
    worker = engines.ours()
    jobs = [Job(worker, f"effort {effort:g}", {"effort": effort}) for effort in EFFORTS]
    tuned = points.tune(engines, jobs)
    _print(engines, "effort, on the tuning questions", tuned)
    good = points.chosen(tuned, lambda it: it.recall >= TARGET + _MARGIN)
    return good[0] if good else jobs[-1]


def _theirs(engines: Engines) -> list[Job]:
    names = dict.fromkeys([*engines.choices.approximate, *engines.choices.exact])
    workers = engines.peers([name for name in names if name != SINDI])
    tuned = points.tune(
        engines, [job for worker in workers for job in points.more_points_of(worker)]
    )
    found = points.chosen(tuned, lambda it: it.recall >= TARGET)
    reached = {job.worker.name for job in found}
    for worker in workers:
        if worker.name not in reached:
            best = max((it.recall for it in tuned if it.job.worker is worker), default=0.0)
            engines.say(f"{worker.name}: no setting reaches {TARGET}, its best is {best:.4f}")
    return found


def _print(engines: Engines, title: str, tuned: list[points.Tuned]) -> None:
    rows = [(it.job.label, f"{1e3 * it.seconds:.3f}", f"{it.recall:.4f}") for it in tuned]
    engines.console.print(plain_table(title, ("setting", "mean ms", "recall@10"), rows))
