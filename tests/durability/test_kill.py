"""A writer that is killed keeps what it has acknowledged, and nothing by halves.

SPARSEGATE_KILLS sets how many writers are killed; SPARSEGATE_KILL_SEED begins elsewhere.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sparsegate_server.filters import FieldKind, Filter, Match
from sparsegate_server.index import Collection, Parameters, archive, recovery
from sparsegate_server.operations import SearchOptions

from ..unit.index import oracle
from ..unit.index.opening import assert_holds, assert_tidy, hits, opened, sound
from ..unit.index.oracle import Model
from . import kill_worker as worker

KILLS = int(os.environ.get("SPARSEGATE_KILLS", "25"))
FIRST_SEED = int(os.environ.get("SPARSEGATE_KILL_SEED", "0"))
LIVES = 5
"""A collection is killed so often in a row, each time in the middle of what it was told to do."""

LONGEST_SECONDS = 1.5
QUERIES = tuple({term: 1.5, term + 7: 0.25, term + 11: 2.0} for term in range(0, 25, 6))
FILTERS = (None, Filter(must=(Match("group", ("g3",)),)))


class Killer:
    """The process that forks the writers and kills them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", worker.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        )

    def kill_one(self, **asked: Any) -> bool:
        """Has a writer work until it is killed. Returns whether it killed itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked, default=str) + "\n")
        self._process.stdin.flush()
        ended, by_itself = json.loads(self._process.stdout.readline())
        assert ended == -signal.SIGKILL
        return bool(by_itself)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(10) == 0
        self._process.stdout.close()


class State(NamedTuple):
    """What a collection is after some operations."""

    sequence: int
    documents: Model
    indexes: Mapping[str, FieldKind]

    def after(self, operation: worker.Operation) -> State:
        documents, indexes = self.documents, dict(self.indexes)
        done = True
        match operation:
            case worker.Upsert(upserted):
                documents = oracle.upserted(documents, upserted)
            case worker.Delete(target):
                done = bool(oracle.chosen(documents, target))
                documents = oracle.deleted(documents, target)
            case worker.SetPayload(target, change):
                done = bool(oracle.chosen(documents, target))
                documents = oracle.changed(documents, target, change)
            case worker.CreateIndex(field, kind):
                done = field not in indexes
                indexes[field] = kind
            case worker.DeleteIndex(field):
                done = indexes.pop(field, None) is not None
            case _:
                done = False
        return State(self.sequence + done, documents, indexes)


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    killer = Killer()
    yield killer
    killer.close()


@pytest.fixture(scope="module")
def fired() -> Iterator[Counter[str]]:
    """At which seams writers have killed themselves."""
    fired: Counter[str] = Counter()
    yield fired
    print("killed themselves at:", dict(sorted(fired.items())))  # noqa: T201
    if 10 * len(worker.SEAMS) <= KILLS:
        assert fired.keys() == worker.SEAMS.keys()


@pytest.mark.parametrize("number", range(-(-KILLS // LIVES)))
def test_killed_writers_lose_nothing(
    killer: Killer, fired: Counter[str], tmp_path: Path, number: int
) -> None:
    seed = FIRST_SEED + number
    draw = random.Random(seed)  # noqa: S311
    folder, acks = tmp_path / "collection", tmp_path / "acks"
    recovery.create(folder, Parameters(worker.VOCABULARY, draw.choice([1, 2, 4])), {})
    acks.touch()
    operations = worker.life(seed)
    past = [State(0, {}, {})]
    done = 0
    for life in range(LIVES):
        seam = seam_of(seed * LIVES + life)
        after = LONGEST_SECONDS if seam else draw.uniform(0, LONGEST_SECONDS)
        itself = killer.kill_one(
            after=after,
            folder=folder,
            acks=acks,
            seed=seed,
            skip=done,
            seam=seam,
            moment=draw.randrange(2**32),
        )
        if itself:
            fired[str(seam)] += 1
        acknowledged = max(done, *map(int, acks.read_text().split()), 0)
        while len(past) <= acknowledged + 1:
            past.append(past[-1].after(next(operations)))
        done = acknowledged + checked(folder, past[acknowledged], past[acknowledged + 1])
        check_snapshot(tmp_path / "latest.snapshot", past[: done + 1])


def seam_of(kill: int) -> str | None:
    """Every third writer is killed by the clock, the others kill themselves, at one seam each."""
    seams = list(worker.SEAMS)
    return None if kill % 3 == 0 else seams[(kill - kill // 3 - 1) % len(seams)]


def checked(folder: Path, known: State, next_: State) -> bool:
    """Whether the operation under way was applied. The folder stays as the writer left it."""
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    with opened(copy) as collection:
        assert_tidy(copy)
        sequence = collection.size().sequence
        assert sequence in (known.sequence, next_.sequence)
        state = known if sequence == known.sequence else next_
        check(collection, state)
    assert sound(copy) == []
    shutil.rmtree(copy)
    return state is next_


def check(collection: Collection, state: State) -> None:
    assert_holds(collection, state.documents)
    assert {name: kind for name, (kind, _) in collection.indexes().items()} == state.indexes
    for query in QUERIES:
        for filter in FILTERS:
            options = SearchOptions(10_000, filter=filter)
            assert hits(collection, query, options) == oracle.page(state.documents, query, options)


def check_snapshot(path: Path, past: Sequence[State]) -> None:
    """The last snapshot that got its name is whole."""
    if not path.exists():
        return
    facts = archive.read_facts(path)
    (state, *_) = [each for each in past if each.sequence == facts.sequence]
    restored = path.with_name("restored")
    archive.restore(path, restored, {}, most_bytes=10**9)
    with opened(restored) as collection:
        assert collection.size().sequence == facts.sequence
        check(collection, state)
    shutil.rmtree(restored)
