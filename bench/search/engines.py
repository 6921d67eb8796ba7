"""The engines of a run, started when first needed, and what all bars share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench.pipe import EngineFailed, Worker
from bench.report import Row
from bench.search.inputs import Inputs
from bench.search.truth import Truth
from bench.search.turns import Job, Timing, take_turns
from rich.console import Console

SINDI = "sindi"
OURS = "sparsegate"
ALONE = (SINDI, "splade-index")
"""Built with nothing beside them, since their build time is reported."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line asks for.

    Attributes:
        peers: file or folder of the peers' harness; None for our engine alone.
        python: interpreter that has the peers.
        exact, approximate: names of peers.
        documents: how many; None for all.
        rounds: a question's time is the best of so many.
        growth: factors of the collection's size.
        growth_questions: how many are timed at each.
    """

    data: Path
    work: Path
    peers: Path | None
    python: str
    exact: tuple[str, ...]
    approximate: tuple[str, ...]
    documents: int | None
    rounds: int
    growth: tuple[int, ...]
    growth_questions: int
    build_limit: float

    @property
    def harness(self) -> Path | None:
        if self.peers is None:
            return None
        return self.peers / "peers.py" if self.peers.is_dir() else self.peers


@dataclass(eq=False)
class Engines:
    """Workers by name, and what the bars have found so far.

    Attributes:
        rows: of the report.
        nearest: the setting of each peer that comes near to exact search; see `points`.
    """

    choices: Choices
    inputs: Inputs
    console: Console
    rows: list[Row] = field(default_factory=list)
    nearest: dict[str, Job] = field(default_factory=dict)
    _workers: dict[str, Worker] = field(default_factory=dict)

    @cached_property
    def truth(self) -> Truth:
        return Truth(self.inputs.documents, self.inputs.questions)

    def ours(self) -> Worker:
        """Our engine with the merged collection."""
        if OURS not in self._workers:
            worker = self.start_ours(OURS)
            worker.build(str(self.inputs.file), None, None, limit=self.choices.build_limit)
            self.say(f"{OURS}: loaded and merged in {worker.facts['build']:.1f} s")
            self._workers[OURS] = worker
        return self._workers[OURS]

    def start_ours(self, name: str) -> Worker:
        return Worker(name, [sys.executable, "-m", "bench.search.worker"], quiet=False)

    def start_peer(self, name: str) -> Worker:
        """A worker of the harness, with nothing built yet."""
        harness = self.choices.harness
        assert harness
        command = [self.choices.python, str(harness.absolute()), "--worker", name]
        return Worker(name, command, quiet=True)

    def prepare(self, names: Sequence[str]) -> None:
        """Builds peers: those whose build time counts alone, the others two at a time."""
        fresh = [name for name in names if name not in self._workers] if self.has_peers else []
        for name in fresh:
            if name in ALONE:
                self._build(name)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._build, (name for name in fresh if name not in ALONE)))

    def peers(self, names: Sequence[str]) -> list[Worker]:
        """Those of the peers that could be built."""
        self.prepare(names)
        return [self._workers[name] for name in names if self._workers.get(name) is not None]

    def sindi(self) -> Worker | None:
        return next(iter(self.peers([SINDI])), None)

    @property
    def has_peers(self) -> bool:
        return self.choices.harness is not None

    def take_turns(
        self, jobs: Sequence[Job], rows: Sequence[int], k: int, *, rounds: int | None = None
    ) -> dict[Job, Timing]:
        """See `turns`; says which peers failed, and leaves them out.

        Raises:
            EngineFailed: our own did.
        """
        rounds = self.choices.rounds if rounds is None else rounds
        timings, failed = take_turns(jobs, rows, k, rounds=rounds)
        for job, why in failed.items():
            if job.worker.name == OURS:
                raise EngineFailed(f"{job.name}: {why}")
            self.say(f"{job.name}: {why}")
        return timings

    def say(self, text: str) -> None:
        self.console.print(text, style="dim", highlight=False, markup=False)

    def add(self, *rows: Row) -> None:
        self.rows.extend(rows)

    def end(self) -> None:
        """Ends all workers; a later call starts them anew."""
        for worker in self._workers.values():
            worker.end()
        self._workers.clear()
        self.nearest.clear()

    def _build(self, name: str) -> None:
        worker = self.start_peer(name)
        try:
            limit = self.choices.build_limit
            worker.build(str(self.inputs.file), None, None, limit=limit)
        except EngineFailed as error:
            self.say(f"{name}: {error}")
            worker.end()
        else:
            self.say(f"{name}: built in {worker.facts['build']:.1f} s")
            self._workers[name] = worker
