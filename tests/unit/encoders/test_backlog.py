"""Which batches are formed of what waits: against a slow model, and how fair that is."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sparsegate_server.encoders.backlog import QUANTUM, SLACK, Backlog, Item
from sparsegate_server.encoders.batching import BatchRules, Outputs, ServedGraph
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.spec import ModelIdentity, ModelSpec

SPEC = ModelSpec("tiny", ModelIdentity("splade", "", "", 30522))


async def nothing(outputs: Outputs, batch: TokenBatch) -> list[None]:
    return []


GRAPHS = [ServedGraph(SPEC, nothing), ServedGraph(replace(SPEC, name="other"), nothing)]


def items_of(lengths: Sequence[int], graph: ServedGraph = GRAPHS[0]) -> list[Item]:
    return [Item(graph, np.zeros(n, np.int32), None, at) for at, n in enumerate(lengths)]


class SlowBacklog:
    """The same rules over one flat list."""

    def __init__(self, rules: BatchRules) -> None:
        self._rules = rules
        self.waiting: list[Item] = []

    def take(self) -> list[Item]:
        if not self.waiting:
            return []
        self.waiting.sort(key=lambda item: (item.tag, item.order))
        head = self.waiting[0]
        batch = [head] if head.alone else self._batch(head)
        self.waiting = [item for item in self.waiting if item not in batch]
        return batch

    def _batch(self, head: Item) -> list[Item]:
        length = next((n for n in self._lengths(head) if self._joins(head, n)), head.length)
        room = self._rules.capacity(head.graph.spec, length)
        batch = self._among(head, head.length)[:room]
        if length > head.length:
            batch += self._among(head, length)[: room - len(batch)]
        for shorter in reversed(self._lengths(head, below=length)):
            count = self._count(head, shorter)
            spared = count * (length - shorter) <= self._rules.overhead
            if shorter != head.length and spared and count <= room - len(batch):
                batch += self._among(head, shorter)
        return batch

    def _joins(self, head: Item, length: int) -> bool:
        count = self._count(head, head.length)
        room = self._rules.capacity(head.graph.spec, length) - 1
        return count <= room and count * (length - head.length) <= self._rules.overhead

    def _lengths(self, head: Item, below: int | None = None) -> list[int]:
        found = {item.length for item in self.waiting if item.graph is head.graph}
        if below is not None:
            return sorted(n for n in found if n < below)
        return sorted(n for n in found if n > head.length)

    def _count(self, head: Item, length: int) -> int:
        return sum(i.graph is head.graph and i.length == length for i in self.waiting)

    def _among(self, head: Item, length: int) -> list[Item]:
        """Those of one length up to the first that travels alone."""
        same = [i for i in self.waiting if i.graph is head.graph and i.length == length]
        stop = next((at for at, item in enumerate(same) if item.alone), len(same))
        return same[:stop]


class Backlogs(RuleBasedStateMachine):
    """Requests come, go and are served; both must form the same batches."""

    @initialize(
        texts=st.integers(1, 6),
        tokens=st.integers(64, 1024),
        step=st.sampled_from([0, 16]),
        overhead=st.sampled_from([0, 16, 64, 1000]),
    )
    def begin(self, texts: int, tokens: int, step: int, overhead: int) -> None:
        self.rules_ = BatchRules(texts, tokens, step, overhead)
        self.fast = Backlog(self.rules_)
        self.slow = SlowBacklog(self.rules_)
        self.requests: list[tuple[str, list[Item]]] = []
        self.served: list[Item] = []

    @rule(
        client=st.sampled_from("abc"),
        lengths=st.lists(st.integers(1, 200), min_size=1, max_size=12),
        graph=st.sampled_from(GRAPHS),
    )
    def enter(self, client: str, lengths: list[int], graph: ServedGraph) -> None:
        items = items_of(lengths, graph)
        self.fast.enter(client, items)
        self.slow.waiting += items
        self.requests.append((client, items))

    @rule()
    def take(self) -> None:
        first = min(self.slow.waiting, default=None)
        expected = self.slow.take()
        batch = self.fast.take()
        assert batch == expected
        assert not batch or first in batch
        assert len({item.graph for item in batch}) <= 1
        assert len(batch) <= self.rules_.max_texts
        padded = len(batch) * max((item.length for item in batch), default=0)
        assert len(batch) <= 1 or padded <= self.rules_.max_tokens
        assert not set(batch) & set(self.served)
        self.served += batch

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        client, items = self.requests.pop(
            data.draw(st.integers(0, len(self.requests) - 1), label="request")
        )
        self.fast.leave(client, items)
        self.slow.waiting = [item for item in self.slow.waiting if item not in items]

    @precondition(lambda self: self.served)
    @rule()
    def fail(self) -> None:
        """The last batch comes back in parts; what has left meanwhile does not."""
        under_way = {item for _, items in self.requests for item in items}
        back = [item for item in self.served[-2:] if item in under_way and not item.alone]
        self.served = [item for item in self.served if item not in back]
        self.fast.part(back)
        self.slow.waiting += back

    @invariant()
    def counts(self) -> None:
        assert self.fast.tokens == sum(item.tokens for item in self.slow.waiting)

    def teardown(self) -> None:
        if not hasattr(self, "fast"):
            return
        while self.slow.waiting:
            self.take()
        assert self.fast.take() == []
        assert self.fast.tokens == 0


TestBacklogs = Backlogs.TestCase
TestBacklogs.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


REQUESTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.lists(st.integers(1, 64), min_size=1, max_size=40)),
    max_size=8,
)


@given(others=REQUESTS, served=st.integers(0, 40), tokens=st.integers(1, 64))
def test_a_newcomer_is_next(others: list[tuple[str, list[int]]], served: int, tokens: int) -> None:
    """Before his text go only texts whose turn has come at the very same time, at most one of a
    request, whatever the others have sent before."""
    backlog = Backlog(BatchRules(1, 64, 1, overhead=0))
    requests = [(client, items_of(lengths)) for client, lengths in others]
    for client, items in requests:
        backlog.enter(client, items)
    for _ in range(served):
        backlog.take()
    mine = items_of([tokens])
    backlog.enter("me", mine)
    before: list[Item] = []
    while (batch := backlog.take()) != mine:
        before += batch
    assert all(len(set(items) & set(before)) <= 1 for _, items in requests)


@given(
    many=st.integers(1, 20),
    lengths=st.lists(st.integers(1, 64), min_size=100, max_size=100),
    first=st.sampled_from(["one", "many"]),
)
def test_clients_advance_at_one_rate_however_many_requests_they_have(
    many: int, lengths: list[int], first: str
) -> None:
    """Of n requests of one client the k-th, and so the last to join, advances at a k-th of the
    rate; the harmonic number bounds what they get together."""
    backlog = Backlog(BatchRules(1, 64, 1, overhead=0))
    owner: dict[Item, str] = {}
    for client in (first, "many" if first == "one" else "one"):
        for _ in range(many if client == "many" else 1):
            items = items_of(lengths)
            backlog.enter(client, items)
            owner |= dict.fromkeys(items, client)
    got = {"one": 0, "many": 0}
    share = sum(1 / k for k in range(1, many + 1))
    left = len(lengths)
    while left > 1:
        (item,) = backlog.take()
        got[owner[item]] += item.tokens
        left -= owner[item] == "one"
        assert got["one"] <= got["many"] + 64
        assert got["many"] <= (got["one"] + 64) * share + 64 * many


def test_what_one_client_sends_singly_goes_in_the_order_of_coming() -> None:
    backlog = Backlog(BatchRules(1, 64, 0, overhead=0))
    requests = [items_of([tokens]) for tokens in (60, 3, 40, 5, 64, 1)]
    for items in requests:
        backlog.enter("", items)
    assert [backlog.take() for _ in requests] == requests


def test_a_large_request_does_not_hold_up_the_next_one_of_its_client() -> None:
    backlog = Backlog(BatchRules(1, 64, 0, overhead=0))
    backlog.enter("", items_of([64] * 100))
    single = items_of([3])
    backlog.enter("", single)
    places = [backlog.take() == single for _ in range(101)]
    assert places.index(True) == QUANTUM // 64 + 1


def test_the_last_few_of_a_length_travel_with_a_longer_one() -> None:
    backlog = Backlog(BatchRules(8, 1024, 16, overhead=32))
    backlog.enter("", items_of([16, 16, 32, 60]))
    assert [[item.length for item in backlog.take()] for _ in range(2)] == [[16, 16, 32], [64]]
    backlog.enter("", items_of([32, 16, 16, 16]))
    assert [[item.length for item in backlog.take()] for _ in range(2)] == [[32], [16, 16, 16]]


def test_batches_are_larger_while_it_is_quiet() -> None:
    backlog = Backlog(BatchRules(8, 64, 16, overhead=32, quiet_tokens=128))
    backlog.enter("", items_of([16] * 20))
    assert [len(backlog.take(quiet=quiet)) for quiet in (False, True, False, True)] == [4, 8, 4, 4]


@pytest.mark.parametrize("left", [0, 1, 2])
def test_what_left_is_not_in_the_batch(left: int) -> None:
    backlog = Backlog(BatchRules(8, 1024, 0, overhead=0))
    requests = [items_of([5, 5]) for _ in range(3)]
    for items in requests:
        backlog.enter("", items)
    backlog.leave("", requests[left])
    expected = {item for at, items in enumerate(requests) for item in items if at != left}
    assert set(backlog.take()) == expected
    assert backlog.tokens == 0


def test_those_who_have_left_are_not_kept_for_the_sake_of_one_who_waits() -> None:
    """However often somebody sends a thousand texts and goes."""
    backlog = Backlog(BatchRules(4, 4096, step=0, overhead=0))
    backlog.enter("patient", items_of([128]))
    gone: list[weakref.ref[np.ndarray]] = []
    for _ in range(5):
        items = items_of([128] * 1000)
        gone += [weakref.ref(item.ids) for item in items]
        backlog.enter("restless", items)
        backlog.leave("restless", items)
        del items
    assert sum(each() is not None for each in gone) <= SLACK + 2
    assert backlog.tokens == 128
    assert [len(backlog.take()), len(backlog.take())] == [1, 0]
