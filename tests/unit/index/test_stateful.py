"""A collection through any life that hypothesis thinks of, against a dictionary.

SPARSEGATE_STATEFUL_EXAMPLES sets how many lives are tried.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from sparsegate_server.errors import InvalidRequest
from sparsegate_server.filters import FieldKind, Filter
from sparsegate_server.index import Collection, Parameters, Tuning, archive, recovery
from sparsegate_server.index.view import View
from sparsegate_server.operations import (
    Document,
    PayloadChange,
    SearchOptions,
    Target,
    WriteResult,
)

from . import oracle
from .opening import assert_holds, assert_tidy, copied, held, hits, opened, sound, then
from .oracle import Model, Vector, sparse
from .strategies import FIELDS, VOCABULARY, batches, changes, filters, options, queries, targets

EXAMPLES = int(os.environ.get("SPARSEGATE_STATEFUL_EXAMPLES", "120"))
TUNING = st.builds(Tuning, tail_documents=st.integers(1, 4))


class Life(RuleBasedStateMachine):
    """`past` holds what the collection was at every sequence number."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="sparsegate"))
        self.folders = 0
        self.pinned: list[tuple[ExitStack, View]] = []
        self.past: dict[int, Model] = {0: {}}
        self.sequence = 0
        self.indexes: dict[str, FieldKind] = {}
        self.name = "life"

    @initialize(shards=st.sampled_from([1, 2, 4, 8, 16]), tuning=TUNING)
    def create(self, shards: int, tuning: Tuning) -> None:
        self.folder = self.new_folder()
        recovery.create(self.folder, Parameters(VOCABULARY, shards), {"name": self.name})
        self.open(tuning)

    def teardown(self) -> None:
        if hasattr(self, "collection"):
            self.close()
        shutil.rmtree(self.root)

    # Writes.

    @rule(documents=batches)
    def upsert(self, documents: list[Document]) -> None:
        written = self.collection.upsert(documents)
        replaced = len({each.id for each in documents} & self.model.keys())
        self.became(written, oracle.upserted(self.model, documents), replaced, bool(documents))

    @rule(meant=targets)
    def delete(self, meant: Target) -> None:
        affected = len(oracle.chosen(self.model, meant))
        written = self.collection.delete(meant)
        self.became(written, oracle.deleted(self.model, meant), affected, bool(affected))

    @rule(meant=targets, change=changes)
    def set_payload(self, meant: Target, change: PayloadChange) -> None:
        affected = len(oracle.chosen(self.model, meant))
        written = self.collection.set_payload(meant, change)
        self.became(written, oracle.changed(self.model, meant, change), affected, bool(affected))

    @rule(data=st.data(), field=st.sampled_from(list(FIELDS)))
    def create_index(self, data: st.DataObject, field: str) -> None:
        kind = data.draw(st.sampled_from(FIELDS[field]))
        known = self.indexes.get(field)
        if known not in (None, kind):
            try:
                self.collection.create_index(field, kind)
            except InvalidRequest:
                return
            raise AssertionError("an index changed its kind")
        written = self.collection.create_index(field, kind)
        self.indexes[field] = kind
        self.became(written, self.model, int(known is kind), known is None)

    @rule(field=st.sampled_from(list(FIELDS)))
    def delete_index(self, field: str) -> None:
        known = self.indexes.pop(field, None)
        written = self.collection.delete_index(field)
        self.became(written, self.model, int(known is not None), known is not None)

    def became(self, written: WriteResult, model: Model, affected: int, changed: bool) -> None:
        assert (written.affected, written.repeated) == (affected, False)
        self.sequence += changed
        assert written.sequence == self.sequence
        self.past[self.sequence] = model

    # Background work.

    @rule()
    def seal(self) -> None:
        self.collection.seal()
        assert self.collection.size().tail == 0

    @rule()
    def merge(self) -> None:
        self.collection.merge()

    @rule()
    def build_indexes(self) -> None:
        while self.collection.build_indexes():
            pass
        assert all(ready for _, ready in self.collection.indexes().values())

    @rule()
    def optimize(self) -> None:
        self.collection.optimize()
        size = self.collection.size()
        assert size.tail == size.tombstones == 0
        assert size.segments <= self.collection.parameters.shards

    # Other lives.

    @rule(tuning=TUNING)
    def reopen(self, tuning: Tuning) -> None:
        self.close()
        assert sound(self.folder) == []
        self.open(tuning)

    @rule(tuning=TUNING)
    def crash(self, tuning: Tuning) -> None:
        crashed = copied(self.collection, self.new_folder())
        self.close()
        self.folder = crashed
        self.open(tuning)
        assert_tidy(self.folder)
        assert sound(self.folder) == []

    @rule(tuning=TUNING)
    def rebuild(self, tuning: Tuning) -> None:
        self.close()
        assert recovery.rebuild(self.folder) == len(self.model)
        assert sound(self.folder) == []
        self.open(tuning)

    @rule(go_on=st.booleans(), tuning=TUNING)
    def snapshot_and_restore(self, go_on: bool, tuning: Tuning) -> None:
        path = self.new_folder()
        archived = self.collection.snapshot(lambda: path)
        assert archived == (self.sequence, len(self.model), {"name": self.name})
        restored = self.new_folder()
        archive.restore(path, restored, {"name": "restored"}, most_bytes=10**9)
        path.unlink()
        if go_on:
            self.close()
            self.folder, self.name = restored, "restored"
            self.open(tuning)
            return
        with opened(restored) as other:
            assert_holds(other, self.model)
            assert other.size().sequence == self.sequence
            assert {name: kind for name, (kind, _) in other.indexes().items()} == self.indexes

    # Reads.

    @precondition(lambda self: len(self.pinned) < 3)
    @rule()
    def pin(self) -> None:
        stack = ExitStack()
        self.pinned.append((stack, stack.enter_context(self.collection._contents.published.pin())))

    @precondition(lambda self: self.pinned)
    @rule()
    def unpin(self) -> None:
        self.pinned.pop(0)[0].close()

    @rule(query=queries, options=options)
    def search(self, query: Vector, options: SearchOptions) -> None:
        found = self.collection.search(sparse(query), options)
        assert found.sequence == self.sequence
        expected = oracle.page(self.past[found.sequence], query, options)
        assert [(hit.id, hit.score) for hit in found.hits] == expected
        for _, view in self.pinned:
            model = self.past[view.sequence]
            reader = then(self.collection, view)
            assert hits(reader, query, options) == oracle.page(model, query, options)

    @rule(filter=filters)
    def scroll(self, filter: Filter) -> None:
        expected = oracle.passing(self.model, filter)
        assert held(self.collection, filter) == expected
        assert self.collection.count(filter).count == len(expected)
        for _, view in self.pinned:
            expected = oracle.passing(self.past[view.sequence], filter)
            assert held(then(self.collection, view), filter) == expected

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "collection"):
            return
        assert self.collection.size().sequence == self.sequence
        assert_holds(self.collection, self.model)
        every = dict.fromkeys(range(VOCABULARY), 1.5)
        whole = SearchOptions(10_000)
        assert hits(self.collection, every, whole) == oracle.page(self.model, every, whole)
        declared = {name: kind for name, (kind, _) in self.collection.indexes().items()}
        assert declared == self.indexes
        for _, view in self.pinned:
            assert_holds(then(self.collection, view), self.past[view.sequence])

    @property
    def model(self) -> Model:
        return self.past[self.sequence]

    def new_folder(self) -> Path:
        self.folders += 1
        return self.root / str(self.folders)

    def open(self, tuning: Tuning) -> None:
        self.collection = Collection(self.folder, tuning)

    def close(self) -> None:
        for stack, _ in self.pinned:
            stack.close()
        self.pinned.clear()
        self.collection.close()


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
