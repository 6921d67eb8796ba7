"""The one description of a graph's inputs and outputs: the graph, Triton's config and the
inference backends are all made from it."""

from __future__ import annotations

from dataclasses import dataclass

from sparsegate_server.models.spec import ModelIdentity, Output


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: in the graph and on the wire.
        dtype: as NumPy names it.
        dims: sizes after the batch; a word stands for a size that varies.
    """

    name: str
    dtype: str
    dims: tuple[int | str, ...]


FINGERPRINT_KEY = "sparsegate_fingerprint"
"""Under which a graph's metadata and Triton's config say whose vectors they make."""

INPUTS = (
    TensorSpec("input_ids", "int32", ("length",)),
    TensorSpec("attention_mask", "int32", ("length",)),
)


def index_dtype(vocabulary_size: int) -> str:
    """The narrowest type of term ids on the wire."""
    return "uint16" if vocabulary_size <= 2**16 else "uint32"


def outputs_of(
    identity: ModelIdentity, output: Output, positions: bool = False
) -> tuple[TensorSpec, ...]:
    """What a graph returns; `inference.base.InferenceBackend` says what the numbers mean."""
    vocabulary = identity.vocabulary_size
    match output:
        case "terms":
            kept = (
                TensorSpec("indices", index_dtype(vocabulary), ("k",)),
                TensorSpec("values", "float32", ("k",)),
            )
            return (*kept, TensorSpec("positions", "uint16", ("k",))) if positions else kept
        case "pooled":
            pooled = TensorSpec("pooled", "float32", (vocabulary,))
            where = TensorSpec("positions", "uint16", (vocabulary,))
            return (pooled, where) if positions else (pooled,)
        case "logits":
            # Whoever pools them sees the positions.
            return (TensorSpec("logits", "float32", ("length", vocabulary)),)
