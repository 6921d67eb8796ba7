"""Compares a server's answer to a known batch with the same graph's answer in this process.

A stub with the wrong numpy corrupts its data with status OK, so that only the numbers tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from sparsegate_server.errors import TritonPreflightError
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.onnx import GRAPH_FILE, OnnxGraph
from sparsegate_server.models.spec import ModelSpec

TOLERANCE = 1e-3
_SECONDS = 30.0
_PRIME = 7919


def known_batch(spec: ModelSpec) -> TokenBatch:
    """Two rows spread over the vocabulary, the second half padding; the same at every call."""
    length = spec.length_buckets[0]
    ids = np.arange(2 * length, dtype=np.int64).reshape(2, length) * _PRIME
    mask = np.ones((2, length), np.int32)
    mask[1, length // 2 :] = 0
    return TokenBatch((ids % spec.identity.vocabulary_size).astype(np.int32) * mask, mask)


def check_parity(url: str, repository: Path, spec: ModelSpec) -> None:
    """Raises TritonPreflightError when the server fails or its numbers are others."""
    batch = known_batch(spec)
    graph = OnnxGraph(repository / spec.name / GRAPH_FILE, fingerprint=spec.fingerprint)
    expected = graph.run(batch)
    found = _ask(url, spec, batch, list(expected))
    difference = _difference(spec, found, expected)
    # A NaN fails this comparison too.
    if not difference <= TOLERANCE:
        raise TritonPreflightError(
            f"Triton's answers for {spec.name!r} differ by {difference:g} from those computed in "
            "this process, so that none of them can be trusted"
        )


def _ask(
    url: str, spec: ModelSpec, batch: TokenBatch, outputs: list[str]
) -> dict[str, NDArray[np.generic]]:
    inputs = []
    for name, array in (("input_ids", batch.input_ids), ("attention_mask", batch.attention_mask)):
        tensor = triton.InferInput(name, array.shape, "INT32")
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    client = triton.InferenceServerClient(url)
    try:
        reply = client.infer(spec.name, inputs, client_timeout=_SECONDS)
    except InferenceServerException as error:
        raise TritonPreflightError(f"Triton failed on {spec.name!r}: {error.message()}") from error
    finally:
        client.close()
    # An output that is absent is an empty one, which then differs.
    return {name: _or_empty(reply.as_numpy(name)) for name in outputs}


def _or_empty(array: NDArray[np.generic] | None) -> NDArray[np.generic]:
    return np.empty(0, np.float32) if array is None else array


def _difference(
    spec: ModelSpec,
    found: Mapping[str, NDArray[np.generic]],
    expected: Mapping[str, NDArray[np.generic]],
) -> float:
    """The greatest absolute difference of a number; infinite when there is nothing to compare."""
    if any(found[name].shape != expected[name].shape for name in expected):
        return math.inf
    if "indices" in found and int(found["indices"].max()) >= spec.identity.vocabulary_size:
        return math.inf
    return float(np.abs(_dense(spec, found) - _dense(spec, expected)).max())


def _dense(spec: ModelSpec, outputs: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float64]:
    """Outputs as numbers that can be subtracted: terms become float64 [batch, vocabulary]."""
    if spec.output != "terms":
        return np.asarray(outputs[spec.output], np.float64)
    values = np.asarray(outputs["values"], np.float64)
    dense = np.zeros((len(values), spec.identity.vocabulary_size))
    np.put_along_axis(dense, np.asarray(outputs["indices"], np.int64), values, axis=1)
    return dense
