"""Whether a server's reply is what the protocol promises. One that lies must not reach an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import InferenceFailed
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.signature import TensorSpec, outputs_of
from sparsegate_server.models.spec import ModelSpec

Arrays = Mapping[str, NDArray[np.generic] | None]

_INDEX_TYPES = ("uint16", "uint32")


def expected(spec: ModelSpec) -> tuple[TensorSpec, ...]:
    """The outputs that a model's reply has."""
    return outputs_of(spec.identity, spec.output, spec.positions)


def check(spec: ModelSpec, batch: TokenBatch, arrays: Arrays) -> dict[str, NDArray[np.generic]]:
    """The arrays of a reply, found to be what `InferenceBackend` says they are.

    Args:
        batch: what was asked.
        arrays: outputs by name, None where the reply has none.

    Raises:
        InferenceFailed: one is missing, has another shape or type, a number that is none, a term
            that the model does not know or has twice, weights that do not descend, or a position
            past the text.
    """
    found: dict[str, NDArray[Any]] = {}
    sizes: dict[str, int] = {"length": batch.input_ids.shape[1]}
    for tensor in expected(spec):
        array = arrays.get(tensor.name)
        if array is None:
            raise _lie(spec, f"no output {tensor.name!r}")
        _check_form(spec, len(batch.input_ids), tensor, array, sizes)
        found[tensor.name] = array
    match spec.output:
        case "terms":
            _check_terms(spec, found["indices"], found["values"])
        case "pooled":
            _check_range(spec, "weights", found["pooled"], least=0.0)
        case "logits":
            _check_range(spec, "logits", found["logits"], least=-np.inf)
    if "positions" in found and found["positions"].max(initial=0) >= sizes["length"]:
        raise _lie(spec, f"position {found['positions'].max()} of {sizes['length']} tokens")
    return found


def _check_form(
    spec: ModelSpec, rows: int, tensor: TensorSpec, array: NDArray[Any], sizes: dict[str, int]
) -> None:
    """Type and shape; a size that varies is set by the first output that has it."""
    types = _INDEX_TYPES if tensor.name == "indices" else (tensor.dtype,)
    shape = array.shape
    if array.dtype.name not in types or len(shape) != 1 + len(tensor.dims):
        raise _lie(spec, f"{tensor.name} of {array.dtype}{list(shape)}")
    for dim, size in zip(tensor.dims, shape[1:], strict=True):
        wanted = dim if isinstance(dim, int) else sizes.setdefault(dim, size)
        if size != wanted:
            raise _lie(spec, f"{tensor.name} of shape {list(shape)}, with {size} for {wanted}")
    if shape[0] != rows:
        raise _lie(spec, f"{tensor.name} for {shape[0]} texts and not for {rows}")


def _check_range(spec: ModelSpec, what: str, numbers: NDArray[Any], *, least: float) -> None:
    """Refuses what is not finite or too small. Minimum and maximum both carry a NaN along."""
    if not numbers.size:
        return
    low, high = numbers.min(), numbers.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise _lie(spec, f"{what} that are not finite")
    if low < least:
        raise _lie(spec, f"{what} that are negative")


def _check_terms(spec: ModelSpec, indices: NDArray[Any], values: NDArray[Any]) -> None:
    _check_range(spec, "weights", values, least=0.0)
    most = spec.identity.max_terms + 1
    if values.shape[1] > most:
        raise _lie(spec, f"{values.shape[1]} terms of at most {most}")
    if not (values[:, 1:] <= values[:, :-1]).all():
        raise _lie(spec, "weights that do not descend")
    if int(indices.max(initial=0)) >= spec.identity.vocabulary_size:
        raise _lie(spec, f"term {indices.max()} of {spec.identity.vocabulary_size}")
    # Past a row's own count an id means nothing: there, numbers that are no term, each another one.
    nobody = spec.identity.vocabulary_size + np.arange(indices.shape[1], dtype=np.uint32)
    terms = np.sort(np.where(values > 0, indices, nobody), axis=1)
    if (terms[:, 1:] == terms[:, :-1]).any():
        raise _lie(spec, "a term twice in one text")


def _lie(spec: ModelSpec, what: str) -> InferenceFailed:
    return InferenceFailed(
        f"Triton's reply for model {spec.name!r} has {what}: export the model again and restart "
        "Triton",
        metadata={"model": spec.name},
    )
