"""What is learned from batches that ran."""

from __future__ import annotations

import weakref

from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.encoders.pace import Pace


class Graph:
    """Any will do."""


GRAPH, OTHER = Graph(), Graph()
SECONDS = st.floats(1e-6, 10)


def test_what_never_ran_is_not_guessed_at() -> None:
    assert Pace().least(GRAPH, 1000) == Pace().usual(GRAPH, 1000) == 0


@given(st.lists(st.tuples(st.integers(1, 4096), SECONDS), min_size=1, max_size=30))
def test_the_least_is_beaten_by_none_until_now(batches: list[tuple[int, float]]) -> None:
    pace = Pace()
    for tokens, seconds in batches:
        pace.observe(GRAPH, tokens, seconds)
        assert pace.least(GRAPH, tokens) <= seconds * (1 + 1e-9)
    assert pace.least(GRAPH, 100) <= pace.usual(GRAPH, 100) * (1 + 1e-9)
    assert pace.least(OTHER, 100) == 0


def test_a_machine_that_became_slow_is_found_out() -> None:
    pace = Pace()
    pace.observe(GRAPH, 100, 0.1)
    for _ in range(1000):
        pace.observe(GRAPH, 100, 1.0)
    assert 0.9 < pace.least(GRAPH, 100) <= 1.0
    assert 0.99 < pace.usual(GRAPH, 100) < 1.01


def test_a_graph_that_is_gone_is_forgotten() -> None:
    pace, graph = Pace(), Graph()
    pace.observe(graph, 100, 0.1)
    gone = weakref.ref(graph)
    del graph
    assert gone() is None
    assert not pace._graphs
