"""Documents that may be among the best are scored by the definition and compete for a place.

A few of them wait while their forward vectors are on the way from memory; then all are scored.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.bits import lowest
from sparsegate_server.index.kernels.bounds import MOST_SUM
from sparsegate_server.index.kernels.lanes import lanes_reaching, prefetch
from sparsegate_server.index.kernels.registry import helper, signed
from sparsegate_server.index.kernels.score import Spread, Vectors, fetch_row, score_of
from sparsegate_server.index.kernels.top_k import offer

AHEAD = 8
"""Documents whose forward vectors are on their way at a time."""

QUEUE = 2 * AHEAD
"""Documents that wait at a time: first for where their forward vectors begin, then for these."""

FOREIGN = np.uint32(2**32 - 1)
"""Stands for the rows of other parts: an equal score of this part takes their place, since its id
may be smaller. Both have been found, so that nothing is lost, and the bar stays where it was."""

FILLED, WAITING, ENTERED, READ = range(4)
STATE = 4

NEVER = MOST_SUM + 1
"""No sum reaches it."""

_ALL = np.uint64(2**64 - 1)


class Race(NamedTuple):
    """The documents that compete, and what they are judged by.

    Attributes:
        born, dead: uint64 [documents], the sequence numbers between which each lives.
        sequence: the instant that is searched.
        touched: uint64, a bit for each document, set where `dead` must be looked at.
        settled: whether all documents were born by then.
        allowed: uint64, a word for each stride, a bit for each document that a filter lets pass; or
            empty, all pass.
        scores, rows: the best so far, as a heap; documents of other parts have the row `FOREIGN`.
        waiting: uint32 [QUEUE], rows that are to be scored next.
        bar: float32 [1], only scores above it count.
        state: int64 [STATE]: FILLED places of the heap, rows WAITING, documents that have ENTERED,
            weights that were READ.
    """

    vectors: Vectors
    spread: Spread
    born: NDArray[np.uint64]
    dead: NDArray[np.uint64]
    touched: NDArray[np.uint64]
    sequence: np.uint64
    settled: bool
    allowed: NDArray[np.uint64]
    scores: NDArray[np.float32]
    rows: NDArray[np.uint32]
    waiting: NDArray[np.uint32]
    bar: NDArray[np.float32]
    state: NDArray[np.int64]


@helper
def score_waiting(race: Race) -> None:
    """Scores those that wait."""
    state = race.state
    for number in range(max(0, state[WAITING] - AHEAD), state[WAITING]):
        fetch_row(race.waiting[number], race.vectors)
    for number in range(state[WAITING]):
        _score(race, race.waiting[number])
    state[WAITING] = 0


@helper
def score_rows(race: Race, rows: NDArray[np.uint32], count: int) -> None:
    """Scores the first `count` rows of a list that are visible. It takes the list as work space."""
    visible = 0
    for number in range(count):
        rows[visible] = rows[number]
        visible += _visible(race, rows[number])
    # First where a row begins, then the row itself, is on its way when it is needed.
    for number in range(min(QUEUE, visible)):
        prefetch(race.vectors.indptr, rows[number])
    for number in range(min(AHEAD, visible)):
        fetch_row(rows[number], race.vectors)
    for number in range(visible):
        if number + QUEUE < visible:
            prefetch(race.vectors.indptr, rows[number + QUEUE])
        if number + AHEAD < visible:
            fetch_row(rows[number + AHEAD], race.vectors)
        _score(race, rows[number])
    race.state[ENTERED] += visible


@helper
def _score(race: Race, row: int) -> None:
    """Scores a document and raises the bar to what the last place of the full heap asks for: an
    equal score may still win by its smaller id."""
    vectors, scores, state = race.vectors, race.scores, race.state
    total = score_of(row, vectors, race.spread)
    state[READ] += vectors.indptr[row + 1] - vectors.indptr[row]
    score = np.float32(total)
    if total > 0.0 and score > race.bar[0]:
        state[FILLED] = offer(scores, race.rows, state[FILLED], score, row)
        if state[FILLED] == len(scores):
            race.bar[0] = max(race.bar[0], np.nextafter(scores[0], np.float32(-np.inf)))


@helper
def _visible(race: Race, row: int) -> bool:
    if not race.settled and race.born[row] > race.sequence:
        return False
    touched = race.touched[row >> 6] >> np.uint64(row & 63) & np.uint64(1)
    return not (touched and race.dead[row] <= race.sequence)


@helper
def _enter(race: Race, row: int) -> bool:
    """Lets a document wait for its turn. Returns whether all that waited have been scored."""
    if not _visible(race, row):
        return False
    prefetch(race.vectors.indptr, row)
    waiting = race.state[WAITING]
    race.waiting[waiting] = row
    if waiting >= AHEAD:
        fetch_row(race.waiting[waiting - AHEAD], race.vectors)
    race.state[WAITING] = waiting + 1
    race.state[ENTERED] += 1
    if waiting + 1 < QUEUE:
        return False
    score_waiting(race)
    return True


@helper
def resume(race: Race) -> None:
    """Goes on with the heap of other parts."""
    for place in range(race.state[FILLED]):
        race.rows[place] = FOREIGN


@helper
def finish(race: Race, scores: NDArray[np.float32], rows: NDArray[np.uint32]) -> int:
    """Copies the documents of this part; returns how many there are."""
    own = 0
    for place in range(race.state[FILLED]):
        if race.rows[place] != FOREIGN:
            scores[own] = race.scores[place]
            rows[own] = race.rows[place]
            own += 1
    return own


@helper
def passing(allowed: NDArray[np.uint64], first_row: int) -> np.uint64:
    """Which documents of a stride a filter lets pass."""
    return allowed[first_row >> 6] if len(allowed) > 0 else _ALL


@helper
def consider(
    race: Race,
    sums: NDArray[np.uint16],
    first: int,
    first_row: int,
    documents: int,
    low: int,
    below: int,
) -> bool:
    """Enters the documents of a stride whose sums are at least `low`, which is above zero.

    Args:
        first: where the stride begins in its window.
        first_row, documents: of the window.
        below: documents whose sums reach it have been entered before.

    Returns:
        Whether the bar may have been raised.
    """
    raised = False
    if low > MOST_SUM:
        return raised
    # One look at a stride spares nearly every document the branches of entering.
    reaching = lanes_reaching(sums, first, np.uint16(low))
    reaching &= passing(race.allowed, first_row + first)
    while reaching:
        local = first + signed(lowest(reaching))
        reaching &= reaching - np.uint64(1)
        # The first comparison holds unless a file is damaged.
        if local < documents and signed(sums[local]) < below:
            raised |= _enter(race, first_row + local)
    return raised
