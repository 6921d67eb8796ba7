"""Short, skewed questions over BM25 impacts of the passages' own words, beside bm25s."""

from __future__ import annotations

from pathlib import Path

from bench.pipe import EngineFailed, Worker
from bench.report import Row
from bench.search import inputs, passages, points
from bench.search.engines import OURS, Engines
from bench.search.report import timings_table
from bench.search.truth import equal_scores
from bench.search.turns import Job

BAR = 9
CORPUS = "corpus.jsonl.xz"


def run(engines: Engines) -> None:
    """Ours and both back ends of bm25s, over the same impacts."""
    corpus = engines.choices.data.with_name(CORPUS)
    if not corpus.is_file():
        engines.say(f"bar {BAR} is left out: {corpus} is missing")
        return
    tokens = passages.read(corpus, len(engines.inputs.documents))
    impacts = passages.impacts(tokens)
    asked = passages.questions(tokens, len(engines.inputs.reported))
    file = engines.choices.work / "bm25.npz"
    inputs.write(file, lambda: [impacts], asked)
    title = (
        f"BM25 of {len(impacts):,} passages, {tokens.vocabulary:,} words,"
        f" {len(impacts.terms) / len(impacts):.0f} a passage, questions of 2 to 4 words, k = 10"
    )
    ours = engines.start_ours(OURS)
    ours.build(str(file), None, None, limit=engines.choices.build_limit)
    peer = _peer(engines, file)
    try:
        _time(engines, title, ours, peer, len(asked))
    finally:
        ours.end()
        if peer:
            peer.end()


def _time(engines: Engines, title: str, ours: Worker, peer: Worker | None, asked: int) -> None:
    mine = Job(ours, "exact")
    jobs = [mine, *(points.points_of(peer) if peer else [])]
    timings = engines.take_turns(jobs, range(asked), 10)
    engines.console.print(timings_table(title, timings))
    what = "BM25, k = 10, mean"
    if len(timings) == 1:
        engines.add(Row(BAR, what, 1e3 * timings[mine].mean, "ms"))
    for job in jobs[1:]:
        if job in timings:
            same = equal_scores(timings[mine].answers, timings[job].answers)
            theirs = 1e3 * timings[job].mean
            note = f"equal scores for {same:.1%}"
            engines.add(
                Row(BAR, what, 1e3 * timings[mine].mean, "ms", job.name, theirs, 0.5, note=note)
            )


def _peer(engines: Engines, file: Path) -> Worker | None:
    if not engines.has_peers:
        return None
    command = [engines.choices.python, "-m", "bench.search.peer_bm25s"]
    worker = Worker("bm25s", command, quiet=True)
    try:
        worker.build(str(file), None, None, limit=engines.choices.build_limit)
    except EngineFailed as error:
        engines.say(f"bm25s: {error}")
        worker.end()
        return None
    return worker
