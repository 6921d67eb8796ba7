"""Who gets the next batch."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.inference.balancer import Balancer

SERVERS = 4


def test_equals_take_turns() -> None:
    balancer = Balancer(3)
    chosen = []
    for _ in range(6):
        server = balancer.choose({0, 1, 2})
        chosen.append(server)
        with balancer.carrying(server, 16):
            pass
    assert chosen == [0, 1, 2, 0, 1, 2]


def test_tokens_count_and_not_batches() -> None:
    balancer = Balancer(2)
    with ExitStack() as under_way:
        under_way.enter_context(balancer.carrying(0, 4096))
        for _ in range(8):
            assert balancer.choose({0, 1}) == 1
            under_way.enter_context(balancer.carrying(1, 512))
        assert balancer.choose({0, 1}) == 0


def test_what_fails_is_no_longer_under_way() -> None:
    balancer = Balancer(1)
    try:
        with balancer.carrying(0, 100):
            assert balancer.outstanding == (100,)
            raise ConnectionError
    except ConnectionError:
        pass
    assert balancer.outstanding == (0,)


Steps = list[tuple[set[int], int, bool]]
STEPS = st.lists(
    st.tuples(
        st.sets(st.integers(0, SERVERS - 1), min_size=1),
        st.integers(1, 4096),
        st.booleans(),  # whether the oldest batch ends before
    ),
    max_size=60,
)


@given(STEPS)
def test_the_least_busy_of_the_allowed_is_chosen(steps: Steps) -> None:
    """The oracle keeps every batch under way and adds them up each time."""
    balancer = Balancer(SERVERS)
    under_way: list[tuple[int, int, ExitStack]] = []
    turns: list[int] = []
    for allowed, tokens, ends in steps:
        if ends and under_way:
            under_way.pop(0)[2].close()
        loads = [sum(t for at, t, _ in under_way if at == server) for server in range(SERVERS)]
        assert balancer.outstanding == tuple(loads)
        chosen = balancer.choose(allowed)
        least = min(loads[server] for server in allowed)
        equals = [server for server in allowed if loads[server] == least]
        assert chosen in equals
        # Among equals: never served before the others, served longest ago else.
        last = {
            server: max((n for n, s in enumerate(turns) if s == server), default=-1)
            for server in equals
        }
        assert last[chosen] == min(last.values())
        turns.append(chosen)
        stack = ExitStack()
        stack.enter_context(balancer.carrying(chosen, tokens))
        under_way.append((chosen, tokens, stack))
    for _, _, stack in under_way:
        stack.close()
    assert balancer.outstanding == (0,) * SERVERS
