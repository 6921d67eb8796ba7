"""Writes what `torch_executor` reads: a checkpoint's tensors, and what the model makes of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from sparsegate_server.models.architectures import DECODER_BIAS
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.pooling import inverse
from sparsegate_server.models.signature import outputs_of
from sparsegate_server.models.spec import ModelSpec

METADATA = "sparsegate"
"""The one entry: of several, safetensors chooses the order anew every time."""

_DROPPED = -1e4
"""The bias of terms that no vector has; no logit makes up for it."""


def torch_weights(checkpoint: Checkpoint, spec: ModelSpec) -> bytes:
    """A safetensors file, the same bytes for the same arguments.

    Tensors have the names and shapes that `Checkpoint.tensors` gives them and the precision of the
    model, but the decoder's bias is float32, and far below zero for dropped terms.
    """
    dtype = np.float16 if spec.precision == "fp16" else np.float32
    tensors: dict[str, NDArray[Any]] = {
        name: np.ascontiguousarray(tensor, dtype) for name, tensor in checkpoint.tensors.items()
    }
    bias = np.array(checkpoint.tensors[DECODER_BIAS], np.float32)
    bias[list(spec.identity.dropped_terms)] = _DROPPED
    tensors[DECODER_BIAS] = bias
    return save(tensors, {METADATA: json.dumps(_facts(checkpoint, spec))})


def _facts(checkpoint: Checkpoint, spec: ModelSpec) -> dict[str, Any]:
    """As `torch_executor.Facts` has them."""
    identity = spec.identity
    outputs = outputs_of(identity, spec.output, spec.positions)
    floor = identity.threshold
    if identity.pooling == "max":
        floor = inverse(floor, identity.activation)
    return {
        "layers": checkpoint.shape.layers,
        "heads": checkpoint.shape.heads,
        "epsilon": checkpoint.shape.epsilon,
        "pooling": identity.pooling,
        "logarithms": 2 if identity.activation == "log1p-twice" else 1,
        "floor": float(np.float32(floor)),
        # One more than the cap, so that a capped row can be told from one that just fits.
        "most_terms": identity.max_terms + 1,
        "output": spec.output,
        "positions": spec.positions,
        "outputs": {tensor.name: tensor.dtype for tensor in outputs},
        "lengths": list(spec.length_buckets),
    }
