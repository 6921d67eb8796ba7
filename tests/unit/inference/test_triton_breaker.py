"""The circuit breaker, against a slow oracle that reads the whole history."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.errors import InferenceUnavailable
from sparsegate_server.inference.breaker import Breaker, State

AWAY = InferenceUnavailable("away")
FAILURES, FIRST, LONGEST = 3, 0.25, 1.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def made(clock: Clock) -> Breaker:
    return Breaker(clock, failures=FAILURES, first=FIRST, longest=LONGEST)


def opened(breaker: Breaker) -> Breaker:
    for _ in range(FAILURES):
        breaker.failed(breaker.enter(), AWAY)
    return breaker


def test_consecutive_failures_open_it() -> None:
    breaker = made(Clock())
    for _ in range(FAILURES - 1):
        breaker.failed(breaker.enter(), AWAY)
    breaker.succeeded(breaker.enter())
    for _ in range(FAILURES - 1):
        breaker.failed(breaker.enter(), AWAY)
    assert breaker.closed
    assert breaker.cause is None
    breaker.failed(breaker.enter(), AWAY)
    assert breaker.state is State.OPEN
    assert breaker.cause is AWAY


def test_a_failed_probe_opens_it_at_once() -> None:
    breaker = made(Clock())
    breaker.probe_failed(AWAY)
    assert breaker.state is State.OPEN


def test_probes_come_ever_later_up_to_a_limit_and_begin_anew_after_success() -> None:
    clock = Clock()
    breaker = opened(made(clock))
    for pause in (0.25, 0.5, 1.0, 1.0):
        assert breaker.retry_after == pytest.approx(pause)
        clock.now += pause
        assert breaker.retry_after == 0
        breaker.begin_probe()
        assert breaker.state is State.HALF_OPEN
        breaker.probe_failed(AWAY)
    breaker.begin_probe()
    breaker.probe_succeeded()
    assert breaker.closed
    assert breaker.cause is None
    assert opened(breaker).retry_after == pytest.approx(0.25)


def test_only_the_probe_closes_it() -> None:
    breaker = made(Clock())
    ticket = breaker.enter()
    opened(breaker)
    breaker.succeeded(ticket)
    breaker.probe_succeeded()  # of a check that began before it opened
    assert breaker.state is State.OPEN


def test_what_began_before_an_outage_says_nothing_after_it() -> None:
    breaker = made(Clock())
    tickets = [breaker.enter() for _ in range(10)]
    opened(breaker)
    breaker.begin_probe()
    breaker.probe_succeeded()
    for ticket in tickets:
        breaker.failed(ticket, AWAY)
    assert breaker.closed


@dataclass
class Oracle:
    """Keeps every event since the last closing and derives the state from all of them."""

    events: list[tuple[str, float]] = field(default_factory=list)

    def add(self, event: str, now: float) -> None:
        self.events.append((event, now))

    def state(self) -> tuple[State, float]:
        """The state, and when the next probe is due if it is open."""
        state, row, pause, due = State.CLOSED, 0, FIRST, 0.0
        for event, now in self.events:
            was = state
            if event == "begin" and state is State.OPEN:
                state = State.HALF_OPEN
            elif event == "well" and state is State.HALF_OPEN:
                state, row, pause = State.CLOSED, 0, FIRST
            elif event == "bad" and state is not State.OPEN:
                pause = min(2 * pause, LONGEST) if state is State.HALF_OPEN else pause
                state = State.OPEN
            elif event == "succeed" and state is State.CLOSED:
                row = 0
            elif event == "fail" and state is State.CLOSED:
                row += 1
                state = State.OPEN if row == FAILURES else state
            if state is State.OPEN and was is not State.OPEN:
                due = now + pause
        return state, due


EVENTS = st.sampled_from(["succeed", "fail", "fail", "fail", "begin", "well", "bad"])


@given(st.lists(st.tuples(EVENTS, st.floats(0, 2)), max_size=60))
def test_any_history_leads_where_the_oracle_says(history: list[tuple[str, float]]) -> None:
    clock, oracle = Clock(), Oracle()
    breaker = made(clock)
    for event, seconds in history:
        clock.now += seconds
        match event:
            case "succeed":
                breaker.succeeded(breaker.enter())
            case "fail":
                breaker.failed(breaker.enter(), AWAY)
            case "begin":
                breaker.begin_probe()
            case "well":
                breaker.probe_succeeded()
            case "bad":
                breaker.probe_failed(AWAY)
        oracle.add(event, clock.now)
        state, due = oracle.state()
        assert breaker.state is state
        assert breaker.closed == (state is State.CLOSED)
        assert (breaker.cause is None) == breaker.closed
        wanted = max(0.0, due - clock.now) if state is State.OPEN else 0.0
        assert breaker.retry_after == pytest.approx(wanted)
        assert breaker.retry_after <= LONGEST
