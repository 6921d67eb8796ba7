"""Questions a second from one and from two Python threads."""

from __future__ import annotations

from bench.pipe import EngineFailed
from bench.report import Row, plain_table
from bench.search import points
from bench.search.engines import Engines
from bench.search.turns import Job

BAR = 5
_THREADS = 2
_QUESTIONS = 500


def run(engines: Engines) -> None:
    """Ours and the peers', in turns, the best rate of each. Two idle cores are taken for granted:
    whatever else runs shows in the second thread.

    The peers' harness hands out questions one by one, which costs a thread some twenty microseconds
    of the lock that all share. Ours are counted that way, too, and where each thread asks its share
    of the questions by itself; the latter is judged.
    """
    ours = Job(engines.ours(), "exact")
    jobs = [ours, *points.nearest(engines, engines.peers(engines.choices.exact))]
    rates: dict[str, dict[str, float]] = {}
    for _ in range(engines.choices.rounds):
        for job in jobs:
            best = rates.setdefault(job.name, {})
            for name, rate in _rates(engines, job).items():
                best[name] = max(best.get(name, 0.0), rate)
    loops = {name.replace("loop", "py"): rates[ours.name][name] for name in ("loop1", "loop2")}
    shown = {f"{ours.name}, each thread by itself": loops, **rates}
    engines.console.print(
        plain_table(
            "questions a second, k = 10",
            ("engine", "1 thread", f"{_THREADS} threads", "ratio"),
            [_cells(name, rate) for name, rate in shown.items() if rate],
        )
    )
    what = "throughput of two threads"
    engines.add(Row(BAR, what, loops["py2"], "questions/s", "one thread", loops["py1"], 1.8, "≥"))


def _rates(engines: Engines, job: Job) -> dict[str, float]:
    rows = list(engines.inputs.reported)[:_QUESTIONS]
    try:
        rates: dict[str, float] = job.worker("threads", 10, job.point, rows, _THREADS)
    except EngineFailed as error:
        engines.say(f"{job.name}: {error}")
        return {}
    return {name: rates[name] for name in rates if name.startswith(("py", "loop"))}


def _cells(name: str, rates: dict[str, float]) -> tuple[str, ...]:
    one, two = rates["py1"], rates[f"py{_THREADS}"]
    return name, f"{one:,.0f}", f"{two:,.0f}", f"{two / one:.2f}"
