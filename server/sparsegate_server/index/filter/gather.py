"""Collects the values of many rows, row by row, for a column."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np

from sparsegate_server.filters import FieldKind
from sparsegate_server.index.filter.kinds import POINT_TYPES, Key, keys_of
from sparsegate_server.index.filter.points import Points
from sparsegate_server.index.filter.terms import Terms, encoded
from sparsegate_server.index.keys import Keys
from sparsegate_server.types import PayloadValue


class Gatherer:
    """Keys are numbered as they come, so that a repeated one costs a number, not a string."""

    def __init__(self, kind: FieldKind) -> None:
        self._kind = kind
        self._known: dict[Key, int] = {}
        self._numbers = array("I")
        self._rows = array("I")

    def add(self, row: int, values: Iterable[PayloadValue]) -> bool:
        """Takes the values of a row that the kind covers; says whether it covers all of them."""
        known, covered = self._known, True
        for value in values:
            keys = keys_of(self._kind, value)
            if keys is None:
                covered = False
                continue
            for key in keys:
                self._numbers.append(known.setdefault(key, len(known)))
                self._rows.append(row)
        return covered

    def gathered(self, size: int) -> Terms | Points:
        """All values taken so far from `size` rows, in the form that suits the kind."""
        numbers = np.frombuffer(self._numbers, np.uint32)
        rows = np.frombuffer(self._rows, np.uint32)
        if dtypes := POINT_TYPES.get(self._kind):
            points = list(self._known)
            parts = [
                np.array([point[place] for point in points], dtype)
                for place, dtype in enumerate(dtypes)
            ]
            return Points.of([part[numbers] for part in parts], rows, size)
        terms = [encoded(str(key)) for key in self._known]
        order = sorted(range(len(terms)), key=terms.__getitem__)
        rank = np.empty(len(terms), np.int64)
        rank[order] = np.arange(len(terms))
        return Terms.of(Keys.of([terms[number] for number in order]), rank[numbers], rows, size)
