"""How much effort a recall takes: from what queries found to a table, and from it to a choice."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import sqrt
from operator import neg
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.operations import Calibration, EffortPoint

EXACT: Final = 1.0
LADDER: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""The efforts that are measured first, besides the exact one."""

LEAST_QUERIES: Final = 10
CONFIDENCE: Final = 0.95
_DEVIATIONS: Final = NormalDist().inv_cdf(CONFIDENCE)

_USEFUL: Final = 0.8
"""A recall below it is aimed at by nobody; there the ladder stays coarse."""

_LARGE_STEP: Final = 0.005
_MOST_POINTS: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What each query found and cost at one effort.

    Attributes:
        recalls, postings, milliseconds: float64 [queries], in parallel.
    """

    recalls: NDArray[np.float64]
    postings: NDArray[np.float64]
    milliseconds: NDArray[np.float64]


def recall(exact: Sequence[float], found: Sequence[float]) -> float:
    """Share of the exact hits that were found. Of documents that score as the last exact hit does,
    any is as good as another.

    Args:
        exact, found: scores, descending; of the exact hits there is at least one.
    """
    reaching = bisect_right(found, -exact[-1], key=neg)
    return min(reaching, len(exact)) / len(exact)


def finer(recalls: Mapping[float, float]) -> tuple[float, ...]:
    """Efforts that are worth measuring next: halfway between neighbours among whose recalls a
    target is likely to fall.

    Args:
        recalls: mean recall by effort, the exact one included.
    """
    return tuple(
        round((lower + upper) / 2, 6)
        for lower, upper in pairwise(sorted(recalls))
        if recalls[upper] >= _USEFUL and recalls[upper] - recalls[lower] > _LARGE_STEP
    )


def lower_bound(recalls: NDArray[np.float64]) -> float:
    """The mean recall of all queries of the kind is above it, with `CONFIDENCE`.

    Wilson's bound of a proportion, for as many coin tosses as would scatter as these queries do:
    the hits of one query are found and missed together, so that a query counts as more than one
    toss, but not as one a hit. One imagined query that found nothing keeps a sample in which all
    went well from passing for certainty.

    Args:
        recalls: float64 [n], n at least 1, between 0 and 1.
    """
    count, mean = len(recalls), float(recalls.mean())
    doubtful = np.append(recalls, 0.0)
    expected = float(doubtful.mean())
    scatter = float(doubtful.var(ddof=1))
    tosses = count * max(1.0, expected * (1 - expected) / scatter) if scatter else count
    return max(0.0, _wilson(mean, tosses))


def _wilson(share: float, tosses: float) -> float:
    square = _DEVIATIONS**2
    centre = share + square / (2 * tosses)
    margin = _DEVIATIONS * sqrt(share * (1 - share) / tosses + square / (4 * tosses**2))
    return (centre - margin) / (1 + square / tosses)


def points_of(trials: Mapping[float, Trial]) -> tuple[EffortPoint, ...]:
    """The table, by ascending effort. Where more effort happened to find less, the smaller recall
    holds for both.

    Args:
        trials: by effort, the exact one included.
    """
    points: list[EffortPoint] = []
    recall = bound = 1.0
    for effort in sorted(trials, reverse=True):
        trial = trials[effort]
        if effort < EXACT:
            recall = min(recall, float(trial.recalls.mean()))
            bound = min(bound, lower_bound(trial.recalls))
        cost = float(trial.postings.mean()), float(trial.milliseconds.mean())
        points.append(EffortPoint(effort, recall, bound, *cost))
    return tuple(reversed(points))


def effort_for(calibration: Calibration, target: float) -> float:
    """The least measured effort whose recall is at least `target`, with confidence; else exact."""
    reaching = (point.effort for point in calibration.points if point.recall_bound >= target)
    return next(reaching, EXACT)


def to_fact(calibration: Calibration) -> dict[str, Any]:
    """As the store keeps it."""
    return asdict(calibration)


def from_fact(fact: Any) -> Calibration:
    """Raises ValueError: it is none."""
    try:
        points = tuple(EffortPoint(**point) for point in fact["points"])
        calibration = Calibration(**{**fact, "points": points})
        if _is_sound(calibration):
            return calibration
    except (TypeError, KeyError) as error:
        raise ValueError("not a calibration") from error
    raise ValueError("not a calibration")


def _is_sound(calibration: Calibration) -> bool:
    counts = (
        calibration.limit,
        calibration.queries,
        calibration.documents,
        calibration.sequence,
    )
    points = calibration.points
    numbers = [value for point in points for value in asdict(point).values()]
    return (
        all(type(count) is int and 0 <= count < 2**62 for count in counts)
        and all(type(value) is float and np.isfinite(value) for value in numbers)
        and type(calibration.confidence) is float
        and 0 < calibration.confidence < 1
        and 1 <= len(points) <= _MOST_POINTS
        and all(p.effort > 0 and 0 <= p.recall_bound <= 1 and 0 <= p.recall <= 1 for p in points)
        and all(p.postings_scored >= 0 and p.milliseconds >= 0 for p in points)
        and all(low.effort < high.effort for low, high in pairwise(points))
        and points[-1].effort == EXACT
    )
