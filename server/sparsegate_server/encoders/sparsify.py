"""From logits to weighted terms: pure functions on arrays.

The formula is SPLADE's (Formal et al. 2021, "SPLADE v2", https://arxiv.org/abs/2109.10086, eq. 1
with max pooling): the weight of term j in text t is w_j = max over i in t of log(1 + ReLU(w_ij)),
w_ij being the masked-language-model logit of term j at token i. ReLU and log(1 + x) keep order, so
everything but the logarithm itself happens on pooled logits, here and in the exported graph alike.
With sum pooling the logarithm comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import InferenceFailed
from sparsegate_server.models.pooling import inverse
from sparsegate_server.models.signature import outputs_of
from sparsegate_server.models.spec import Activation, ModelIdentity, ModelSpec
from sparsegate_server.types import SparseVector

_Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """What a graph made of one text.

    Attributes:
        vector: its terms.
        capped: whether it was cut at the model's `max_terms`.
        positions: uint16, for each term of the vector the token that caused it; None where the
            model gives no positions.
    """

    vector: SparseVector
    capped: bool
    positions: NDArray[np.uint16] | None = None


def rows(
    spec: ModelSpec, outputs: Mapping[str, NDArray[Any]], attention_mask: NDArray[np.int32]
) -> list[Row]:
    """The vectors of a batch, whatever kind of output its graph has.

    Args:
        spec: names the kind of output.
        outputs: arrays by name, as `InferenceBackend.infer` returns them.
        attention_mask: int32 [batch, length] of the batch.

    Raises:
        InferenceFailed: an output is missing, or has a shape that cannot be.
    """
    _check(spec, outputs, attention_mask)
    match spec.output:
        case "terms":
            return _rows_of_terms(spec, outputs)
        case "pooled":
            positions = outputs["positions"] if spec.positions else [None] * len(attention_mask)
            return [
                _kept(spec.identity, weights, spec.identity.threshold, where)
                for weights, where in zip(outputs["pooled"], positions, strict=True)
            ]
        case "logits":
            return [
                _row_of_logits(spec, logits[real])
                for logits, real in zip(outputs["logits"], attention_mask == 1, strict=True)
            ]


def idf_query(
    ids: NDArray[np.integer[Any]], table: _Weights, specials: NDArray[np.integer[Any]]
) -> SparseVector:
    """The query of a model that needs no graph for it: each different token, at its own weight.

    It is the sum over the query's set of tokens of IDF(token) (Geng et al. 2024,
    https://arxiv.org/abs/2411.04403, eq. 4); a token that comes twice counts once.

    Args:
        ids: the query's tokens, below the length of the table, special ones included or not.
        table: float32 [vocabulary], as `models.query_table.load_query_table` gives it.
        specials: tokens that make no term.

    Returns:
        The vector, without tokens whose weight is 0; it may be empty.
    """
    terms = np.setdiff1d(ids, specials)
    weights = table[terms]
    kept = weights > 0
    return SparseVector(terms[kept].astype(np.uint32), weights[kept].astype(np.float32))


def activate(logits: _Weights, activation: Activation) -> _Weights:
    """The weights of float32 logits of any shape."""
    weights = np.log1p(np.maximum(logits, np.float32(0)))
    return np.log1p(weights) if activation == "log1p-twice" else weights


def from_top_terms(
    indices: NDArray[np.unsignedinteger], values: NDArray[np.float32], max_terms: int
) -> tuple[SparseVector, bool]:
    """The vector of one row of a graph that has kept the terms itself.

    Args:
        indices: uint16 or uint32 [k].
        values: float32 [k], descending, zero past the row's own count.
        max_terms: of more terms, the heaviest are kept, and of equal ones those of smaller id.

    Returns:
        The vector, and whether it was cut at `max_terms`.
    """
    places, capped = _top_places(indices, values, max_terms)
    return SparseVector(indices[places].astype(np.uint32), values[places]), capped


def top(vector: SparseVector, k: int, threshold: float = 0.0) -> SparseVector:
    """The `k` greatest weights above `threshold`; of equal weights, those of smaller id.

    The result is sorted by id again. `k` of 0 keeps every weight above the threshold.
    """
    above = np.flatnonzero(vector.values > threshold)
    if 0 < k < len(above):
        # Stable, on ids that ascend: equal weights stay in the order of their ids.
        heaviest = np.argsort(-vector.values[above], kind="stable")[:k]
        above = np.sort(above[heaviest])
    return SparseVector(vector.indices[above], vector.values[above])


def _check(
    spec: ModelSpec, outputs: Mapping[str, NDArray[Any]], attention_mask: NDArray[np.int32]
) -> None:
    """Holds a reply against what the model is said to return."""
    sizes: dict[int | str, int] = {"length": attention_mask.shape[1]}
    for tensor in outputs_of(spec.identity, spec.output, spec.positions):
        if tensor.name not in outputs:
            raise InferenceFailed(
                f"model {spec.name!r} returned no {tensor.name!r}: export it again, and restart "
                "the server that runs it"
            )
        found = outputs[tensor.name].shape
        if len(found) == 2:
            # All outputs of one batch have as many terms.
            sizes.setdefault("k", found[1])
        dims = (size if isinstance(size, int) else sizes.get(size, -1) for size in tensor.dims)
        expected = (len(attention_mask), *dims)
        if found != expected:
            raise InferenceFailed(
                f"model {spec.name!r} returned {tensor.name} of shape {found} instead of {expected}"
            )


def _rows_of_terms(spec: ModelSpec, outputs: Mapping[str, NDArray[Any]]) -> list[Row]:
    cap = spec.identity.max_terms
    found = []
    for at, (indices, values) in enumerate(zip(outputs["indices"], outputs["values"], strict=True)):
        places, capped = _top_places(indices, values, cap)
        vector = SparseVector(indices[places].astype(np.uint32), values[places])
        positions = outputs["positions"][at][places] if spec.positions else None
        found.append(Row(vector, capped, positions))
    return found


def _top_places(
    indices: NDArray[np.unsignedinteger], values: NDArray[np.float32], max_terms: int
) -> tuple[NDArray[np.intp], bool]:
    """Where in a row the terms of its vector stand, by ascending id, and whether there were more
    than `max_terms`. See `from_top_terms`."""
    count = int(np.count_nonzero(values > 0))
    return np.argsort(indices[: min(count, max_terms)]), count > max_terms


def _row_of_logits(spec: ModelSpec, logits: _Weights) -> Row:
    """Of one text's real tokens, float32 [tokens, vocabulary]."""
    identity = spec.identity
    where = logits.argmax(axis=0).astype(np.uint16) if spec.positions and len(logits) else None
    if identity.pooling == "sum":
        weights = activate(logits, identity.activation).sum(axis=0)
        return _kept(identity, weights, identity.threshold, where)
    pooled = logits.max(axis=0, initial=-np.inf)
    floor = inverse(identity.threshold, identity.activation)
    row = _kept(identity, pooled, floor, where)
    weights = activate(row.vector.values, identity.activation)
    return Row(SparseVector(row.vector.indices, weights), row.capped, row.positions)


def _kept(
    identity: ModelIdentity, scores: _Weights, floor: float, where: NDArray[np.uint16] | None
) -> Row:
    """The terms whose float32 score is above the floor, the greatest `max_terms` of them."""
    terms, capped = _above(scores, np.float32(floor), identity.max_terms)
    vector = SparseVector(terms.astype(np.uint32), scores[terms])
    return Row(vector, capped, None if where is None else where[terms])


def _above(scores: _Weights, floor: np.float32, max_terms: int) -> tuple[NDArray[np.int64], bool]:
    """Ascending ids of scores above the floor, and whether there were more than `max_terms`."""
    terms = np.flatnonzero(scores > floor)
    capped = len(terms) > max_terms
    if capped:
        terms = np.sort(terms[np.lexsort((terms, -scores[terms]))[:max_terms]])
    return terms, capped
