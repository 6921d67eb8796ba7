"""Times the evaluation of filters over one segment's payload indexes, nothing but that.

    python -m bench.micro.filters

Two keyword fields, one that scatters its values at random and one that keeps equal values side by
side, and two number fields made alike; every value of theirs is asked for by its share of the
rows. Figures are of many calls of `Filtering.passing` in one thread, Python included: the least of
calls one after the other, and the mean of calls between which memory is swept through the caches,
as the rest of a search does it.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Iterator, Sequence
from typing import Final, cast

import numpy as np
from llvmlite.binding import get_host_cpu_name
from rich.console import Console
from rich.table import Table

from sparsegate_server import index
from sparsegate_server.filters import (
    Condition,
    Except,
    FieldKind,
    Filter,
    IsEmpty,
    Match,
    MinShould,
    Range,
)
from sparsegate_server.index.filter import Column
from sparsegate_server.index.filtering import Filtering
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.hydration import Hydration
from sparsegate_server.index.ids import encode
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.segment import Details, Segment
from sparsegate_server.index.view import View
from sparsegate_server.types import PayloadValue

_SHARES: Final = (0.5, 0.1, 0.01, 0.001)
_SWEPT: Final = 300_000
"""Bytes."""

_INDEXES: Final = {
    "scattered": FieldKind.KEYWORD,
    "adjacent": FieldKind.KEYWORD,
    "price": FieldKind.NUMBER,
    "date": FieldKind.NUMBER,
}


def segment_of(rows: int, seed: int) -> Segment:
    """Documents of one term each, with a column of every field in `_INDEXES`."""
    order = np.random.default_rng(seed).permutation(rows)
    bounds = np.cumsum([0, *(int(share * rows) for share in _SHARES)])
    shares = np.searchsorted(bounds, np.arange(rows), "right") - 1
    names = [*map(str, _SHARES), "rest"]
    values: dict[str, Sequence[PayloadValue]] = {
        "scattered": [names[share] for share in shares[order].tolist()],
        "adjacent": [names[share] for share in shares.tolist()],
        "price": order.tolist(),
        "date": list(range(rows)),
    }
    segment = Segment.build(
        Keys.of([encode(number) for number in range(rows)]),
        Details(
            np.arange(rows),
            np.ones(rows, np.uint64),
            np.zeros(rows, np.uint32),
            np.zeros(rows, np.uint32),
        ),
        Forward(np.arange(rows + 1), np.zeros(rows, np.uint16), np.ones(rows, np.float32)),
        1,
    )
    for name, kind in _INDEXES.items():
        column = Column.build(kind, ([value] for value in values[name]))
        segment = segment.with_column(name, column, "")
    return segment


def filters(rows: int) -> Iterator[tuple[str, Filter]]:
    """What is timed, by name."""
    for share in _SHARES:
        for field in ("scattered", "adjacent"):
            yield f"{field} = value of {share:.1%}", Filter((Match(field, (str(share),)),))
        for field in ("price", "date"):
            within = Range(field, gte=rows * 0.3, lt=rows * (0.3 + share))
            yield f"{field} in range of {share:.1%}", Filter((within,))
    half, tenth, rare = (
        Match("scattered", ("0.5",)),
        Match("adjacent", ("0.1",)),
        Match("scattered", ("0.01", "0.001")),
    )
    cheap = Range("price", lt=rows * 0.3)
    either: Condition = Filter(should=(tenth, cheap))
    yield "three clauses, nested", Filter((half, either))
    yield "three clauses, nested, negated", Filter((either,), must_not=(rare,))
    yield "two of three", Filter(min_should=MinShould((half, tenth, cheap), 2))
    yield "any but one value", Filter((Except("scattered", ("0.5",)),))
    yield "has a value", Filter(must_not=(IsEmpty("price"),))


def microseconds(
    filtering: Filtering, view: View, filter: Filter, runs: int
) -> tuple[float, float]:
    """Of one call of `Filtering.passing`: the least, and the mean behind a sweep."""
    direct, swept = [], []
    for times, memory in ((direct, np.ones(1)), (swept, np.ones(_SWEPT // 8))):
        for _ in range(runs):
            memory.sum()
            begin = time.perf_counter_ns()
            filtering.passing(view, filter)
            times.append(time.perf_counter_ns() - begin)
    return min(direct) / 1e3, sum(swept) / len(swept) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=2_000, help="calls of each filter")
    chosen = parser.parse_args()
    index.warm_up()
    console = Console()
    console.print(f"{platform.platform()}, {os.cpu_count()} cores, {get_host_cpu_name()}")
    parts = ((segment_of(chosen.rows, 1),),)
    view = View(1, chosen.rows, parts, parts, _INDEXES)
    # Every condition here is answered by a column, so that no document is ever read.
    filtering = Filtering(cast(Hydration, None), 0, texts=False)
    table = Table(title=f"filters over {chosen.rows:,} rows, one segment")
    for heading in ("filter", "rows", "least µs", "swept µs"):
        table.add_column(heading, justify="left" if heading == "filter" else "right")
    for name, filter in filters(chosen.rows):
        least, swept = microseconds(filtering, view, filter, chosen.runs)
        count = filtering.passing(view, filter).count()
        table.add_row(name, f"{count:,}", f"{least:.1f}", f"{swept:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
