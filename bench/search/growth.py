"""What happens as a collection grows: latency, memory and time to build."""

from __future__ import annotations

from typing import NamedTuple

from bench.pipe import EngineFailed, Worker
from bench.report import Row, plain_table
from bench.search import inputs, points, replicas
from bench.search.engines import OURS, SINDI, Engines
from bench.search.report import timings_table
from bench.search.sizes import resident
from bench.search.truth import equal_scores
from bench.search.turns import Job, Timing

BAR = 10
_HOUR = 3600.0


class Stage(NamedTuple):
    """Attributes:
    touched: postings of a question's terms, in the mean. memory: bytes a posting.
    """

    documents: int
    touched: float
    timing: Timing
    memory: float
    pieces: float
    merge: float


def run(engines: Engines) -> None:
    """Each size in a process of its own, SINDI beside the largest. Ends all other engines first:
    the largest takes gigabytes."""
    engines.end()
    factors = sorted(engines.choices.growth)
    stages = [_stage(engines, factor, beside=factor == factors[-1]) for factor in factors]
    engines.console.print(
        plain_table(
            "growth, exact, k = 10, one merged segment",
            (
                "documents",
                "postings touched",
                "mean ms",
                "p95",
                "ns/posting",
                "memory bytes/posting",
                "segments s",
                "merge s",
                "documents/s",
            ),
            map(_cells, stages),
        )
    )
    first = stages[0]
    for each in stages[1:]:
        engines.add(
            Row(
                BAR,
                f"ns a posting at {each.documents:,} documents",
                _nanoseconds(each),
                "ns",
                f"{first.documents:,} documents",
                _nanoseconds(first),
            )
        )


def _stage(engines: Engines, factor: int, *, beside: bool) -> Stage:
    choices = engines.choices
    worker = engines.start_ours(OURS)
    try:
        arguments = (str(choices.data), choices.documents, factor, str(engines.inputs.file))
        facts = worker("grow", *arguments, limit=_HOUR)
        engines.say(f"grown to {facts['documents']:,} documents")
        rows = range(min(choices.growth_questions, len(engines.inputs.reported)))
        mine = Job(worker, "exact", {"collection": "grown"})
        found = resident(facts["folder"], engines.inputs.file)
        peer = _peer(engines, factor) if beside else None
        theirs = points.points_of(peer) if peer else []
        timings = engines.take_turns([mine, *theirs], rows, 10)
        if peer:
            engines.console.print(timings_table(f"{facts['documents']:,} documents", timings))
            _compare(engines, facts["documents"], timings, mine)
            peer.end()
    finally:
        worker.end()
    touched = sum(facts["touched"][row] for row in rows) / len(rows)
    memory = found["memory"] / found["stored"]
    return Stage(
        facts["documents"], touched, timings[mine], memory, facts["pieces"], facts["merge"]
    )


def _compare(engines: Engines, documents: int, timings: dict[Job, Timing], mine: Job) -> None:
    for job, timing in timings.items():
        if job is not mine:
            same = equal_scores(timings[mine].answers, timing.answers)
            engines.add(
                Row(
                    BAR,
                    f"exact, k = 10, {documents:,} documents, mean",
                    1e3 * timings[mine].mean,
                    "ms",
                    job.name,
                    1e3 * timing.mean,
                    0.5,
                    note=f"equal scores for {same:.1%}",
                )
            )


def _peer(engines: Engines, factor: int) -> Worker | None:
    """SINDI over the same replicas."""
    if not engines.has_peers:
        return None
    choices = engines.choices
    file = choices.work / "grown.npz"
    inputs.write(
        file,
        lambda: replicas.pieces(choices.data, choices.documents, factor),
        engines.inputs.questions,
    )
    worker = engines.start_peer(SINDI)
    try:
        worker.build(str(file), None, None, limit=_HOUR)
    except EngineFailed as error:
        engines.say(f"{SINDI}: {error}")
        worker.end()
        return None
    finally:
        file.unlink()
    engines.say(f"{SINDI}: built in {worker.facts['build']:.1f} s")
    return worker


def _nanoseconds(stage: Stage) -> float:
    return 1e9 * stage.timing.mean / stage.touched


def _cells(stage: Stage) -> tuple[str, ...]:
    return (
        f"{stage.documents:,}",
        f"{stage.touched:,.0f}",
        f"{1e3 * stage.timing.mean:.3f}",
        f"{1e3 * stage.timing.percentile(95):.3f}",
        f"{_nanoseconds(stage):.3f}",
        f"{stage.memory:.2f}",
        f"{stage.pieces:.1f}",
        f"{stage.merge:.1f}",
        f"{stage.documents / (stage.pieces + stage.merge):,.0f}",
    )
