"""What is made of measurements: recall, its bound, the table, and the choice of an effort."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparsegate_server.index import calibration as rules
from sparsegate_server.index.calibration import EXACT, Trial
from sparsegate_server.operations import Calibration, EffortPoint

SHARES = st.floats(0, 1)


def trial(*recalls: float) -> Trial:
    shares = np.array(recalls, np.float64)
    return Trial(shares, shares * 100, shares * 2)


@st.composite
def trials(draw: st.DrawFn) -> dict[float, Trial]:
    efforts = draw(st.lists(st.floats(0.01, 0.99), max_size=8, unique=True))
    queries = draw(st.integers(1, 30))
    found = st.lists(SHARES, min_size=queries, max_size=queries)
    return {**{each: trial(*draw(found)) for each in efforts}, EXACT: trial(*[1.0] * queries)}


def calibration(trials: dict[float, Trial]) -> Calibration:
    return Calibration(rules.points_of(trials), 10, 30, rules.CONFIDENCE, 1000, 7)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
    st.lists(st.integers(0, 5), max_size=12),
)
def test_recall_counts_what_reaches_the_last_exact_hit(exact: list[int], found: list[int]) -> None:
    exact.sort(reverse=True)
    found.sort(reverse=True)
    as_good = [score for score in found if score >= exact[-1]]
    assert rules.recall(exact, found) == min(len(as_good), len(exact)) / len(exact)


def test_any_of_the_documents_that_tie_for_the_last_place_will_do() -> None:
    assert rules.recall([3.0, 2.0], [2.0, 2.0]) == 1.0
    assert rules.recall([3.0, 2.0], [3.0, 1.9]) == 0.5
    assert rules.recall([3.0, 2.0], []) == 0.0


@given(trials())
def test_more_effort_never_finds_less(measured: dict[float, Trial]) -> None:
    points = rules.points_of(measured)
    assert [point.effort for point in points] == sorted(measured)
    for low, high in pairwise(points):
        assert low.recall <= high.recall
        assert low.recall_bound <= high.recall_bound
    for point in points:
        assert 0 <= point.recall_bound <= point.recall <= 1 + 1e-12
        assert point.recall <= measured[point.effort].recalls.mean()
        assert point.postings_scored == measured[point.effort].postings.mean()
        assert point.milliseconds == measured[point.effort].milliseconds.mean()
    assert (points[-1].recall, points[-1].recall_bound) == (1.0, 1.0)


@given(trials(), st.floats(0, 1, exclude_min=True))
def test_the_least_effort_that_surely_reaches_the_target(
    measured: dict[float, Trial], target: float
) -> None:
    made = calibration(measured)
    effort = rules.effort_for(made, target)
    bounds = {point.effort: point.recall_bound for point in made.points}
    assert bounds[effort] >= target
    assert all(bound < target for lower, bound in bounds.items() if lower < effort)


def test_a_perfect_recall_is_promised_by_the_exact_search_alone() -> None:
    made = calibration({0.5: trial(*[1.0] * 10_000), EXACT: trial(*[1.0] * 10_000)})
    assert rules.effort_for(made, 1.0) == EXACT
    assert rules.effort_for(made, 0.99) == 0.5


def test_the_margin_shrinks_with_the_number_of_queries() -> None:
    bounds = [rules.lower_bound(np.ones(count)) for count in (10, 100, 1000, 10_000)]
    assert bounds == sorted(bounds)
    assert bounds[0] == pytest.approx(0.787, abs=1e-3)
    assert bounds[-1] > 0.999
    even = rules.lower_bound(np.full(500, 0.97))
    torn = rules.lower_bound(np.array([1.0] * 485 + [0.0] * 15))
    assert torn < even < 0.97


def samples(
    random: np.random.Generator, recall: float, queries: int, kept: float
) -> NDArray[np.float64]:
    """Recalls of ten hits each, found and missed together: the smaller `kept`, the more so."""
    own = random.beta(recall * kept, (1 - recall) * kept, queries)
    return random.binomial(10, own) / 10


@pytest.mark.parametrize("recall", [0.8, 0.9, 0.95, 0.98])
@pytest.mark.parametrize("queries", [30, 300])
@pytest.mark.parametrize("kept", [0.5, 2.0, 20.0])
def test_the_bound_holds_as_often_as_it_says(recall: float, queries: int, kept: float) -> None:
    random = np.random.default_rng(5)
    holds = [
        rules.lower_bound(samples(random, recall, queries, kept)) <= recall for _ in range(2000)
    ]
    # The standard error of the share itself is half a percent.
    assert np.mean(holds) >= rules.CONFIDENCE - 0.015


def test_finer_steps_where_a_target_may_fall() -> None:
    recalls = {0.2: 0.3, 0.4: 0.7, 0.6: 0.9, 0.8: 0.97, 0.9: 0.972, 1.0: 1.0}
    assert rules.finer(recalls) == (0.5, 0.7, 0.95)
    assert rules.finer({0.5: 1.0, 1.0: 1.0}) == ()


@given(trials())
def test_what_is_kept_is_what_was_measured(measured: dict[float, Trial]) -> None:
    made = calibration(measured)
    assert rules.from_fact(json.loads(json.dumps(rules.to_fact(made)))) == made


SOUND = rules.to_fact(calibration({0.5: trial(0.5, 1.0), EXACT: trial(1.0, 1.0)}))
POINT = SOUND["points"][0]


def with_point(**changes: object) -> dict[str, Any]:
    return {**SOUND, "points": [{**POINT, **changes}, SOUND["points"][1]]}


@pytest.mark.parametrize(
    "fact",
    [
        None,
        5,
        "points",
        [],
        {},
        {**SOUND, "more": 1},
        {**SOUND, "points": []},
        {**SOUND, "points": [1]},
        {**SOUND, "points": SOUND["points"][:1]},
        {**SOUND, "points": [SOUND["points"][1], POINT]},
        {**SOUND, "points": [{**POINT, "effort": at / 100} for at in range(1, 101)]},
        {**SOUND, "limit": "10"},
        {**SOUND, "queries": -1},
        {**SOUND, "sequence": 2**70},
        {**SOUND, "documents": True},
        {**SOUND, "confidence": 1.0},
        {**SOUND, "confidence": None},
        with_point(effort=0.0),
        with_point(effort=1),
        with_point(recall=1.5),
        with_point(recall_bound=float("nan")),
        with_point(recall_bound="0.5"),
        with_point(milliseconds=-1.0),
        with_point(postings_scored=float("inf")),
        with_point(more=1.0),
    ],
)
def test_what_is_no_calibration_is_refused(fact: Any) -> None:
    with pytest.raises(ValueError, match="not a calibration"):
        rules.from_fact(fact)


def test_a_calibration_is_compared_by_value() -> None:
    made = rules.from_fact(SOUND)
    assert made == replace(made)
    assert made.points[0] == EffortPoint(**POINT)
