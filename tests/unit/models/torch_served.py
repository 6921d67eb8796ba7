"""A model as Triton serves it with PyTorch, in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sparsegate_server.encoders.sparsify import Row, rows
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.spec import ModelSpec, Precision
from sparsegate_server.models.torch_weights import torch_weights

from .formulas import batch

TOLERANCE: dict[Precision, float] = {"fp32": 1e-5, "fp16": 0.01}
"""Of a token's weight; a sum over tokens may be off by as much for each."""


@dataclass(frozen=True)
class Tensor:
    """As those of `triton_python_backend_utils`, which exists only inside Triton's stub."""

    name: str
    array: NDArray[Any]

    def as_numpy(self) -> NDArray[Any]:
        return self.array


@dataclass(frozen=True)
class TritonError:
    text: str


@dataclass(frozen=True)
class InferenceResponse:
    tensors: tuple[Tensor, ...] | list[Tensor] = ()
    error: TritonError | None = None


def get_input_tensor_by_name(request: dict[str, Tensor], name: str) -> Tensor:
    return request[name]


def load(executor: Any, folder: Path, checkpoint: Checkpoint, spec: ModelSpec) -> Any:
    """A model as Triton has loaded it from its folder, version 1."""
    file = folder / "1" / "model.safetensors"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(torch_weights(checkpoint, spec))
    model = executor.TritonPythonModel()
    model.initialize(
        {
            "model_config": json.dumps({"parameters": {"intra_op_threads": {"string_value": "1"}}}),
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
            "model_repository": str(folder),
            "model_version": "1",
        }
    )
    return model


def request(tokens: TokenBatch) -> dict[str, Tensor]:
    return {
        "input_ids": Tensor("input_ids", tokens.input_ids),
        "attention_mask": Tensor("attention_mask", tokens.attention_mask),
    }


def vectors(model: Any, spec: ModelSpec, texts: list[list[int]]) -> list[Row]:
    """The vectors that the gateway makes of the model's reply to one request."""
    tokens = batch(texts)
    (reply,) = model.execute([request(tokens)])
    assert reply.error is None, reply.error
    return rows(spec, arrays_of(reply), tokens.attention_mask)


def arrays_of(reply: InferenceResponse) -> dict[str, NDArray[Any]]:
    return {tensor.name: tensor.array for tensor in reply.tensors}
