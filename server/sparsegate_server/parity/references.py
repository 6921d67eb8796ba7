"""What a graph is held against: the checkpoint itself, by NumPy or by PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.checkpoint import CONFIG_FILE, Checkpoint
from sparsegate_server.models.jsonfile import read_optional
from sparsegate_server.models.originals import Original
from sparsegate_server.models.spec import ModelIdentity
from sparsegate_server.parity import numpy_bert
from sparsegate_server.parity.vectors import Advance, Ids, Weights, floor
from sparsegate_server.types import SparseVector


class NumpyVectors:
    """The checkpoint's tensors in float64, without onnx or any framework."""

    name = "NumPy, float64"

    def __init__(self, checkpoint: Checkpoint, identity: ModelIdentity) -> None:
        self._checkpoint = checkpoint
        self._identity = identity

    def encode(self, rows: Sequence[Ids], advance: Advance) -> list[Weights]:
        """See `VectorSource`."""
        found = []
        for _, logits in numpy_bert.logits(self._checkpoint, rows):
            found.append(weigh(logits, self._identity))
            advance(1)
        return found


class TorchVectors:
    """The checkpoint's files, as PyTorch and transformers read and run them, one text at a time.

    Args:
        original: where the files lie.

    Raises:
        ModelSourceError: the two are not installed, or cannot read the checkpoint.
    """

    name = "PyTorch, float32"

    def __init__(self, original: Original, identity: ModelIdentity) -> None:
        self._identity = identity
        try:
            # Gigabytes that nothing but this reference needs.
            import torch  # noqa: PLC0415
            import transformers  # noqa: PLC0415
        except ImportError as error:
            raise ModelSourceError(
                f"--reference torch cannot be had ({error}): install PyTorch and transformers with "
                "`pip install 'sparsegate[server,verify]'`, or take --reference numpy"
            ) from error
        self._torch: Any = torch
        try:
            self._model: Any = _read(transformers, original).eval()
        # Whatever a library of many hands raises.
        except Exception as error:
            raise ModelSourceError(
                f"transformers cannot read {original.folder} ({error}): take --reference numpy"
            ) from error

    def encode(self, rows: Sequence[Ids], advance: Advance) -> list[Weights]:
        """See `VectorSource`."""
        found = []
        for logits in self._logits(rows):
            # Rows that pad the vocabulary stand for no term.
            found.append(weigh(logits[:, : self._identity.vocabulary_size], self._identity))
            advance(1)
        return found

    def _logits(self, rows: Sequence[Ids]) -> Iterator[NDArray[np.float32]]:
        for ids in rows:
            with self._torch.inference_mode():
                batch = self._torch.tensor([ids.tolist()])
                yield (
                    self._model(input_ids=batch, attention_mask=self._torch.ones_like(batch))
                    .logits[0]
                    .numpy()
                )


def _read(transformers: Any, original: Original) -> Any:
    """The checkpoint's masked-language model; one that names no architecture is BERT."""
    options: dict[str, Any] = {"local_files_only": True, "attn_implementation": "eager"}
    if "model_type" not in read_optional(original.folder / CONFIG_FILE):
        shape = original.checkpoint.shape
        options["config"] = transformers.BertConfig(
            vocab_size=shape.vocabulary_size,
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.hidden,
            max_position_embeddings=shape.positions,
            layer_norm_eps=shape.epsilon,
        )
    return transformers.AutoModelForMaskedLM.from_pretrained(str(original.folder), **options)


def weigh(logits: NDArray[np.floating[Any]], identity: ModelIdentity) -> Weights:
    """A text's vector, from the formula: what `encoders.sparsify` and the graph must come to.

    Args:
        logits: float64 or float32 [tokens, vocabulary].
    """
    weights = np.log1p(np.maximum(logits, 0))
    if identity.activation == "log1p-twice":
        weights = np.log1p(weights)
    pooled = weights.sum(axis=0) if identity.pooling == "sum" else weights.max(axis=0)
    pooled[list(identity.dropped_terms)] = 0
    terms = np.flatnonzero(pooled > identity.threshold)
    capped = len(terms) > identity.max_terms
    if capped:
        heaviest = np.lexsort((terms, -pooled[terms]))[: identity.max_terms]
        terms = np.sort(terms[heaviest])
    vector = SparseVector(terms.astype(np.uint32), pooled[terms].astype(np.float32))
    return Weights(vector, floor(vector, capped, identity), bool(np.isfinite(logits).all()))
