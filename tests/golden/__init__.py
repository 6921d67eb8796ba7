"""Reference data: SPLADE vectors made with PyTorch, and twenty films."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparsegate_server.types import SparseVector

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Golden:
    text: str
    tokens_used: int
    vector: SparseVector


HERE = Path(__file__).parent
FILMS: list[dict[str, Any]] = json.loads(
    (HERE.parents[1] / "examples/movies/movies.json").read_text()
)


VECTORS = [
    Golden(
        each["text"],
        each["tokens_used"],
        SparseVector(np.array(each["indices"], np.uint32), np.array(each["values"], np.float32)),
    )
    for each in json.loads((HERE / "splade_tiny.json").read_text())["vectors"]
]
NOT_BLANK = [each for each in VECTORS if each.text.strip()]


def difference(one: SparseVector, other: SparseVector) -> float:
    """The greatest absolute difference of a weight over the union of terms."""
    terms = np.union1d(one.indices, other.indices)
    dense = np.zeros((2, len(terms)))
    for row, vector in zip(dense, (one, other), strict=True):
        row[np.searchsorted(terms, vector.indices)] = vector.values
    return float(np.abs(dense[0] - dense[1]).max(initial=0.0))
