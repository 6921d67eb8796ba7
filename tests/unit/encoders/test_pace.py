"""What is learned from batches that ran."""

from __future__ import annotations

import weakref

from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.encoders.pace import TRUSTED_SECONDS, Pace


class Graph:
    """Any will do."""


GRAPH, OTHER = Graph(), Graph()
NOW = 1000.0
SECONDS = st.floats(1e-6, 10)


def test_what_never_ran_is_not_guessed_at() -> None:
    assert Pace().least(GRAPH, 1000, NOW) == Pace().usual(GRAPH, 1000) == 0


@given(st.lists(st.tuples(st.integers(1, 4096), SECONDS), min_size=1, max_size=30))
def test_the_least_is_beaten_by_none_until_now(batches: list[tuple[int, float]]) -> None:
    pace = Pace()
    for tokens, seconds in batches:
        pace.observe(GRAPH, tokens, seconds, NOW)
        assert pace.least(GRAPH, tokens, NOW) <= seconds * (1 + 1e-9)
    assert pace.least(GRAPH, 100, NOW) <= pace.usual(GRAPH, 100) * (1 + 1e-9)
    assert pace.least(OTHER, 100, NOW) == 0


def test_a_machine_that_became_slow_is_found_out() -> None:
    pace = Pace()
    pace.observe(GRAPH, 100, 0.1, NOW)
    for _ in range(1000):
        pace.observe(GRAPH, 100, 1.0, NOW)
    assert 0.9 < pace.least(GRAPH, 100, NOW) <= 1.0
    assert 0.99 < pace.usual(GRAPH, 100) < 1.01


def test_what_nobody_has_seen_of_late_makes_nothing_hopeless() -> None:
    """A batch that came while the machine stood still may be the last one that was observed."""
    pace = Pace()
    pace.observe(GRAPH, 10, 60.0, NOW)
    assert pace.least(GRAPH, 10, NOW + TRUSTED_SECONDS) == 60
    later = NOW + TRUSTED_SECONDS + 0.01
    assert pace.least(GRAPH, 10, later) == 0
    assert pace.usual(GRAPH, 10) == 60
    pace.observe(GRAPH, 10, 0.1, later)
    assert pace.least(GRAPH, 10, later) <= 0.1


def test_a_graph_that_is_gone_is_forgotten() -> None:
    pace, graph = Pace(), Graph()
    pace.observe(graph, 100, 0.1, NOW)
    gone = weakref.ref(graph)
    del graph
    assert gone() is None
    assert not pace._graphs
