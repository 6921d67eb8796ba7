"""What waits in one lane, and which of it makes the next batch: pure planning, without a clock."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.encoders.batching import BatchRules, ServedGraph

QUANTUM = 512
"""Tokens of one request that may go before the next one of the same client."""

SLACK = 64
"""Of those who have left a group, so many are not worth clearing away."""


@dataclass(slots=True, eq=False)
class Item:
    """One text that waits, or is at work.

    Attributes:
        ids: token ids int32 [n].
        owner: the request that it belongs to.
        position: its place there.
        length: the length that it is padded to when it travels among its like.
        tag: its place in the lane's order, in virtual time.
        order: breaks ties of `tag`, first come first served.
        alone: it was in a batch that failed, and now travels alone.
        waiting: whether it is in the backlog.
    """

    graph: ServedGraph
    ids: NDArray[np.int32]
    owner: Any
    position: int
    length: int = 0
    tag: float = 0.0
    order: int = 0
    alone: bool = False
    waiting: bool = False

    @property
    def tokens(self) -> int:
        return len(self.ids)

    def __lt__(self, other: Item) -> bool:
        return (self.tag, self.order) < (other.tag, other.order)


@dataclass(slots=True)
class _Group:
    """Items of one graph and one padded length, by tag. Who has left is passed over in its turn, or
    cleared away with others when they are the most."""

    heap: list[Item] = field(default_factory=list)
    live: int = 0

    def push(self, item: Item) -> None:
        heapq.heappush(self.heap, item)
        self.live += 1

    def head(self) -> Item:
        """The first that waits; there must be one."""
        while not self.heap[0].waiting:
            heapq.heappop(self.heap)
        return self.heap[0]

    def left(self) -> None:
        """One that is in here waits no more."""
        self.live -= 1
        if len(self.heap) > 2 * self.live + SLACK:
            self.heap = [item for item in self.heap if item.waiting]
            heapq.heapify(self.heap)

    def pop(self, most: int) -> list[Item]:
        """The first ones, up to one that travels alone."""
        taken: list[Item] = []
        while self.live and len(taken) < most and not self.head().alone:
            taken.append(self.pop_one())
        return taken

    def pop_one(self) -> Item:
        item = self.head()
        heapq.heappop(self.heap)
        item.waiting = False
        self.live -= 1
        return item


class Backlog:
    """The texts that wait in one lane, shared fairly between clients.

    The order is that of virtual time, which is the tag of what was last in turn (start-time fair
    queueing; Goyal, Vin and Cheng, SIGCOMM 1996). A client's requests start one after another, each
    when as many tokens have gone by as the one before had, but no more than a quantum, so that a
    large one does not hold the next one up; a request's texts follow each other at the distance of
    their tokens, times the requests that its client has under way. So all clients advance at one
    rate in tokens, whatever they have sent: a newcomer goes before the rest of a thousand texts,
    many requests of one client get about one share together, and what one client sends singly is
    served in the order of coming. The first in this order is in the next batch always, whatever
    else fills it, so that nothing waits for ever.
    """

    def __init__(self, rules: BatchRules) -> None:
        self._rules = rules
        self._groups: dict[ServedGraph, dict[int, _Group]] = {}
        self._under_way: Counter[str] = Counter()
        self._next_start: dict[str, float] = {}
        self._now = 0.0
        self._added = 0
        self.tokens = 0

    def enter(self, client: str, items: Sequence[Item]) -> None:
        """Adds the texts of a new request; `leave` must follow when it is over."""
        self._under_way[client] += 1
        rate = self._under_way[client]
        tag = max(self._now, self._next_start.get(client, 0.0))
        self._next_start[client] = tag + min(QUANTUM, sum(item.tokens for item in items))
        for item in items:
            item.tag = tag
            item.order = self._added
            item.length = self._rules.padded(item.graph.spec, item.tokens)
            self._added += 1
            self._push(item)
            tag += item.tokens * rate

    def leave(self, client: str, items: Iterable[Item]) -> None:
        """Ends a request: those of its items that still wait do so no more."""
        self._under_way[client] -= 1
        if not self._under_way[client]:
            del self._under_way[client], self._next_start[client]
        for item in items:
            if item.waiting:
                item.waiting = False
                self.tokens -= item.tokens
                self._group(item).left()
                self._forget(item)

    def part(self, items: Iterable[Item]) -> None:
        """Puts items of a batch that failed back in their old places, each to travel alone."""
        for item in items:
            item.alone = True
            self._push(item)

    def take(self, *, quiet: bool = False) -> list[Item]:
        """Removes and returns the next batch; empty when nothing waits.

        Its texts are of one graph; they are to be padded to the greatest `length` of them.

        Args:
            quiet: whether no query comes, so that it may be as large as the rules let it be then.
        """
        heads = [group.head() for groups in self._groups.values() for group in groups.values()]
        if not heads:
            return []
        head = min(heads)
        self._now = max(self._now, head.tag)
        batch = [self._group(head).pop_one()] if head.alone else self._batch(head, quiet)
        self.tokens -= sum(item.tokens for item in batch)
        for item in batch:
            self._forget(item)
        return batch

    def _batch(self, head: Item, quiet: bool) -> list[Item]:
        groups = self._groups[head.graph]
        length = self._joined_length(head, groups, quiet)
        room = self._rules.capacity(head.graph.spec, length, quiet=quiet)
        # The head's own group first, which is a shorter one when it joins a longer one.
        batch = groups[head.length].pop(room)
        if length > head.length:
            batch += groups[length].pop(room - len(batch))
        for shorter in sorted((each for each in groups if each < length), reverse=True):
            if self._may_join(groups[shorter], length - shorter, room - len(batch)):
                batch += groups[shorter].pop(room - len(batch))
        return batch

    def _joined_length(self, head: Item, groups: dict[int, _Group], quiet: bool) -> int:
        """The head's own length, or the next longer one when its whole group may go there."""
        for length in sorted(each for each in groups if each > head.length):
            room = self._rules.capacity(head.graph.spec, length, quiet=quiet)
            if self._may_join(groups[head.length], length - head.length, room - 1):
                return length
        return head.length

    def _may_join(self, group: _Group, padding: int, room: int) -> bool:
        """Whether a whole group travels with a longer one: that spares the batch of its own."""
        return 0 < group.live <= room and group.live * padding <= self._rules.overhead

    def _push(self, item: Item) -> None:
        item.waiting = True
        self.tokens += item.tokens
        groups = self._groups.setdefault(item.graph, {})
        groups.setdefault(item.length, _Group()).push(item)

    def _group(self, item: Item) -> _Group:
        return self._groups[item.graph][item.length]

    def _forget(self, item: Item) -> None:
        """Drops the item's group when nothing waits in it."""
        groups = self._groups.get(item.graph, {})
        group = groups.get(item.length)
        if group is not None and not group.live:
            del groups[item.length]
            if not groups:
                del self._groups[item.graph]
