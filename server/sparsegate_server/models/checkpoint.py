"""Reads a checkpoint of a BERT masked-language model: its tensors and the sizes they imply."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.spec import TOKENIZER_FILE

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"

Tensor = NDArray[np.float32]

_HEAD_SIZE = 64
"""Every BERT that Google published has heads of this size, bert-tiny too."""


@dataclass(frozen=True, slots=True)
class BertShape:
    """Sizes of a BERT encoder.

    Attributes:
        layers: number of encoder layers.
        heads: attention heads of a layer.
        hidden: width of a token's state.
        vocabulary_size: number of wordpieces.
        positions: longest text in tokens.
        epsilon: added to the variance in every layer normalisation.
    """

    layers: int
    heads: int
    hidden: int
    vocabulary_size: int
    positions: int
    epsilon: float

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A masked-language model as it was trained.

    Attributes:
        tensors: float32 arrays under the names that Hugging Face gives them.
        shape: the encoder's sizes.
        tokenizer: the bytes of tokenizer.json.
    """

    tensors: Mapping[str, Tensor]
    shape: BertShape
    tokenizer: bytes

    @property
    def parameters(self) -> int:
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def weights_sha256(self) -> str:
        """Over the sizes and, by ascending name, every tensor's name, shape and bytes.

        The sizes are in it because two numbers of heads make two models from the same tensors.
        """
        digest = hashlib.sha256(json.dumps(asdict(self.shape), sort_keys=True).encode())
        for name in sorted(self.tensors):
            tensor = self.tensors[name]
            digest.update(f"\n{name} {tensor.shape}\n".encode())
            digest.update(np.ascontiguousarray(tensor, "<f4").tobytes())
        return digest.hexdigest()

    @property
    def tokenizer_sha256(self) -> str:
        return hashlib.sha256(self.tokenizer).hexdigest()

    @classmethod
    def load(cls, folder: Path) -> Checkpoint:
        """Reads `model.safetensors`, `tokenizer.json` and, where there is one, `config.json`.

        Raises:
            ModelSourceError: a file is missing or not understood, or it is no BERT with a
                masked-language-model head.
        """
        for name in (WEIGHTS_FILE, TOKENIZER_FILE):
            if not (folder / name).is_file():
                raise ModelSourceError(f"{folder} has no {name}: a model needs both files")
        try:
            raw = load_file(folder / WEIGHTS_FILE)
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise ModelSourceError(
                f"{folder / WEIGHTS_FILE} is no safetensors file: {error}"
            ) from error
        tensors = {
            name: np.asarray(tensor, np.float32)
            for name, tensor in raw.items()
            if np.issubdtype(tensor.dtype, np.floating)
        }
        return cls(
            tensors, _shape(tensors, _config(folder)), (folder / TOKENIZER_FILE).read_bytes()
        )


def _config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG_FILE
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise ModelSourceError(f"{file} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelSourceError(f"{file} is not a JSON object")
    # Another activation or position scheme would give a graph that runs and is wrong.
    for key, known in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if config.get(key, known) != known:
            raise ModelSourceError(
                f"{file}: {key} {config[key]!r} is not supported, only {known!r}"
            )
    return config


def _shape(tensors: Mapping[str, Tensor], config: dict[str, Any]) -> BertShape:
    """The sizes that the tensors show; config.json, or BERT's own default, says the others."""
    prefix = "bert.encoder.layer."
    layers = {int(n.removeprefix(prefix).split(".")[0]) for n in tensors if n.startswith(prefix)}
    try:
        vocabulary_size, hidden = tensors["bert.embeddings.word_embeddings.weight"].shape
        positions = len(tensors["bert.embeddings.position_embeddings.weight"])
        tensors["cls.predictions.bias"]
    except KeyError as error:
        raise ModelSourceError(
            f"the checkpoint has no tensor {error}: it is no BERT with a masked-language-model head"
        ) from error
    heads = int(config.get("num_attention_heads", max(1, hidden // _HEAD_SIZE)))
    if not layers or layers != set(range(len(layers))) or hidden % heads:
        raise ModelSourceError(
            f"the checkpoint's sizes do not fit together: layers {sorted(layers)}, "
            f"hidden {hidden}, heads {heads}"
        )
    return BertShape(
        layers=len(layers),
        heads=heads,
        hidden=hidden,
        vocabulary_size=vocabulary_size,
        positions=positions,
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
    )
