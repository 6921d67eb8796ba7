"""Which of several servers gets the next batch: the one with the least work ahead. Pure logic."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager


class Balancer:
    """Counts the padded tokens that are under way to each of `count` servers.

    Tokens, not batches: a batch of 8 texts of 512 tokens takes as long as 256 short queries. A
    server that hangs keeps its tokens, and so gets less and less.
    """

    def __init__(self, count: int) -> None:
        self._outstanding = [0] * count
        self._last_turn = [-1] * count
        self._turn = 0

    @property
    def outstanding(self) -> tuple[int, ...]:
        """Tokens under way to each server."""
        return tuple(self._outstanding)

    def choose(self, allowed: Collection[int]) -> int:
        """The allowed server with the fewest tokens under way; among equals, whose turn was
        longest ago. `allowed` must not be empty."""
        return min(allowed, key=lambda at: (self._outstanding[at], self._last_turn[at], at))

    @contextmanager
    def carrying(self, server: int, tokens: int) -> Iterator[None]:
        """Counts the tokens as under way to a server for as long as the body runs."""
        self._outstanding[server] += tokens
        self._last_turn[server] = self._turn
        self._turn += 1
        try:
            yield
        finally:
            self._outstanding[server] -= tokens
