"""A collection keeps every acknowledged write, wherever in its life the power goes.

SPARSEGATE_EVERY_LOSS=1 tries every loss behind every event, which takes some minutes; without it
the cleanest loss is tried behind every event, and the others where files change names and here and
there between.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Collection as Places
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sparsegate_server.errors import SparsegateError
from sparsegate_server.filters import Filter
from sparsegate_server.index import Collection
from sparsegate_server.operations import Document, SearchOptions
from sparsegate_server.types import DocumentId, SparseVector

from ..unit.index import oracle
from .disk import DURABLE, LOSSES, Loss, scattered
from .events import Ack, Event, Rename, SyncFolder, Unlink
from .recorder import record, unavailable
from .replay import essential_syncs, in_folder, survivals, window
from .workloads import collection_steps as steps

WORKLOAD = Path(__file__).parent / "workloads" / "collection_writes.py"
INDEX = "collection/index"
REQUESTS = 80
EVERY_LOSS = (*LOSSES, *(scattered(seed) for seed in range(4)))
THOROUGH = bool(os.environ.get("SPARSEGATE_EVERY_LOSS"))
QUERIES = tuple({term: 1.5, term + 7: 0.25, term + 11: 2.0} for term in range(0, 25, 6))
NEW = Document("new", oracle.sparse({0: 1.0, 6: 2.0, 39: 3.0}), "of a later life", {"group": "g3"})
FILTERS: tuple[Filter | None, ...] = (None, steps.group(3))

reason = unavailable()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))

Ranked = list[tuple[DocumentId, float]]


class Held(NamedTuple):
    """All that can be asked of a collection."""

    sequence: int
    documents: dict[DocumentId, tuple[Any, ...]]
    fields: frozenset[str]
    rankings: list[Ranked]


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return recorded(tmp_path_factory.mktemp("by_hand"), "by hand")


@pytest.fixture(scope="module")
def in_background(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return recorded(tmp_path_factory.mktemp("in_background"), "in background")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Where images are opened: in memory, if there is such a folder, for their syncs cost time."""
    memory = Path("/dev/shm")  # noqa: S108
    where = memory if os.access(memory, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def expected() -> list[steps.State]:
    return steps.states(steps.life(REQUESTS))


def recorded(folder: Path, tidied: str) -> list[Event]:
    return record([sys.executable, str(WORKLOAD), str(folder), str(REQUESTS), tidied], folder)


def held(folder: Path) -> Held | str:
    """What is found in a collection's folder, or why nothing is."""
    try:
        collection = Collection(folder / "collection")
    except SparsegateError as error:
        return f"{type(error).__name__}: {error.message}"
    with closing(collection):
        return ask(collection)


def ask(collection: Collection) -> Held:
    page = collection.scroll(None, 10_000)
    documents = {
        each.id: content(Document(each.id, each.vector, each.text, each.payload))
        for each in page.documents
        if each.vector is not None
    }
    assert collection.count().count == len(documents)
    rankings = [
        [(hit.id, hit.score) for hit in collection.search(oracle.sparse(query), options).hits]
        for query in QUERIES
        for options in (SearchOptions(10_000, filter=each) for each in FILTERS)
    ]
    return Held(page.sequence, documents, frozenset(collection.indexes()), rankings)


def content(document: Document) -> tuple[Any, ...]:
    return weights(document.vector), document.text, document.payload


def weights(vector: SparseVector) -> oracle.Vector:
    return dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))


def lost(
    events: Sequence[Event],
    expected: Sequence[steps.State],
    scratch: Path,
    *,
    without: Places[int] = (),
    within: range | None = None,
) -> Iterator[str]:
    """What is wrong after each loss, as it is found."""

    def wanted(index: int, loss: Loss) -> bool:
        if within is not None and index not in within:
            return False
        return THOROUGH or loss is DURABLE or interesting(events, index)

    read = in_folder(scratch, held)
    for each in survivals(events, EVERY_LOSS, read, without=without, wanted=wanted):
        wrong = wrong_with(each.found, each.acknowledged, expected)
        if wrong is not None:
            yield f"behind {each.behind}, {each.loss.name}: {wrong}"


def interesting(events: Sequence[Event], index: int) -> bool:
    """Before and behind the change of a name, and every so often."""
    around = events[max(index, 0) : index + 2]
    return index % 37 == 0 or any(isinstance(event, Rename | Unlink) for event in around)


def wrong_with(
    found: Held | str, acknowledged: Sequence[Any], expected: Sequence[steps.State]
) -> str | None:
    """Acknowledged requests are there, and nothing else but the whole of the one under way."""
    if isinstance(found, str):
        return found if acknowledged else None
    done = max(0, len(acknowledged) - 1)  # the first word is that the collection is there
    wrong = [difference(found, state) for state in expected[done : done + 2]]
    if None not in wrong:
        return f"the state of neither request {done} nor the one behind it: {wrong}"
    if done and found.sequence < acknowledged[-1]:
        return f"sequence {found.sequence} after {acknowledged[-1]} was acknowledged"
    return None


def difference(found: Held, state: steps.State) -> str | None:
    documents = {key: content(each) for key, each in state.documents.items()}
    if found.documents != documents:
        keys = found.documents.keys() | documents.keys()
        differing = [key for key in keys if found.documents.get(key) != documents.get(key)]
        return f"other documents {differing}"
    if found.fields != state.fields:
        return f"other payload indexes {set(found.fields)}"
    return None if found.rankings == rankings(state.documents) else "a search that is wrong"


def rankings(documents: steps.Documents) -> list[Ranked]:
    """What the slow truth finds, query by query, filter by filter."""
    vectors = {key: weights(each.vector) for key, each in documents.items()}
    found = []
    for query in QUERIES:
        for filter in FILTERS:
            passing = documents if filter is None else steps.matching(documents, filter)
            found.append(oracle.search({key: vectors[key] for key in passing}, query, 10_000))
    return found


def test_the_life_has_everything(by_hand: list[Event]) -> None:
    named = [event.target for event in by_hand if isinstance(event, Rename)]
    assert sum(name.endswith("MANIFEST") for name in named) > 20  # seals, merges, columns
    gone = [event.path for event in by_hand if isinstance(event, Unlink)]
    assert any(name.endswith(".segment") for name in gone)
    assert any(name.endswith(".column") for name in gone)
    assert sum(isinstance(event, Ack) for event in by_hand) == REQUESTS + 1


def test_no_acknowledged_write_is_lost(
    by_hand: list[Event], expected: list[steps.State], scratch: Path
) -> None:
    assert list(lost(by_hand, expected, scratch)) == []


def test_nothing_is_lost_while_others_seal_and_merge(
    in_background: list[Event], expected: list[steps.State], scratch: Path
) -> None:
    assert list(lost(in_background, expected, scratch)) == []


def test_life_goes_on(by_hand: list[Event], expected: list[steps.State], scratch: Path) -> None:
    created = by_hand.index(Ack("created"))
    tried = range(created, len(by_hand), 1 if THOROUGH else 41)
    count = 0
    for each in survivals(
        by_hand,
        EVERY_LOSS,
        in_folder(scratch, lived_on),
        wanted=lambda index, _: index in tried,
    ):
        done = len(each.acknowledged) - 1
        wrong = [
            difference(each.found, steps.State({**state.documents, NEW.id: NEW}, state.fields))
            for state in expected[done : done + 2]
        ]
        assert None in wrong, f"behind {each.behind}, {each.loss.name}: {wrong}"
        count += 1
    assert count > 100


def lived_on(folder: Path) -> Held:
    """What a collection holds after more work in two further lives."""
    with closing(Collection(folder / "collection")) as collection:
        collection.upsert([NEW])
        collection.seal()
    with closing(Collection(folder / "collection")) as collection:
        collection.optimize()
    with closing(Collection(folder / "collection")) as collection:
        return ask(collection)


def test_each_sync_is_missed(
    by_hand: list[Event], expected: list[steps.State], scratch: Path
) -> None:
    essential = [at for at in essential_syncs(by_hand) if not _only_saves_replay(by_hand, at)]
    assert len(essential) > 4 * REQUESTS
    for at in essential:
        within = window(by_hand, at)
        found = next(lost(by_hand, expected, scratch, without=[at], within=within), None)
        assert found is not None, f"nothing is lost without the sync {by_hand[at]} at {at}"


def _only_saves_replay(events: Sequence[Event], at: int) -> bool:
    """Whether a sync makes a manifest durable that puts no files out of use: the one before it,
    together with the store, says the same."""
    swap, first = Rename(f"{INDEX}/MANIFEST.new", f"{INDEX}/MANIFEST"), events.index(Ack("created"))
    if events[at] != SyncFolder(INDEX) or at < first:
        return False
    # The writer's thread may have done something else since the swap, a sync of the folder not.
    since = next(place for place in range(at - 1, 0, -1) if events[place] in {swap, events[at]})
    removed = any(isinstance(events[place], Unlink) for place in window(events, at))
    return events[since] == swap and not removed
