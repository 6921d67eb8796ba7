"""What the parity gate found of a model's graph, and what that means for serving it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

_EXACT_BACKENDS = frozenset({"python", "onnxruntime", "torch"})
"""Those that multiply float32 as float32. TensorRT rounds the factors to TF32 where the GPU can."""


@dataclass(frozen=True, slots=True)
class Verification:
    """One comparison of a graph with its checkpoint.

    Neither a date nor a speed is in it, so that the same export gives the same bytes.

    Attributes:
        runtime: what ran the graph.
        reference: what the graph was held against.
        text: the name of the test collection.
        text_sha256: of the collection, as hex.
        documents: how many were compared.
        queries: how many were compared.
        max_difference: the greatest difference of a weight, to two digits.
        overlap: mean share of the reference's ten best documents that the graph finds as well.
        reference_ndcg: nDCG@10 of the reference.
        ndcg: nDCG@10 of the graph.
        limits: what was asked, by the names of the measures.
        failed: measures that were beyond their limits; the model was exported all the same.
    """

    runtime: str
    reference: str
    text: str
    text_sha256: str
    documents: int
    queries: int
    max_difference: float
    overlap: float
    reference_ndcg: float
    ndcg: float
    limits: Mapping[str, float] = field(default_factory=dict)
    failed: tuple[str, ...] = ()

    @property
    def forced(self) -> bool:
        """Whether it did not pass, and the user wanted the model all the same."""
        return bool(self.failed)

    def made_by(self, backend: str, device: str) -> bool:
        """Whether this backend ran the graph, on such a device, and no other in its place."""
        return self.runtime.endswith(f"{backend}, {device}")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Verification:
        """What `dataclasses.asdict` gave, through JSON. Raises KeyError and TypeError."""
        values = {each.name: raw[each.name] for each in fields(cls)}
        return cls(
            **{**values, "limits": dict(values["limits"]), "failed": tuple(values["failed"])}
        )


def objection(
    name: str, precision: str, backend: str, device: str, record: Verification | None
) -> str:
    """Why a model must not be served, and what to do about it; "" where nothing speaks against it.

    Vectors of one fingerprint are mixed in collections, whatever made them. Backends that calculate
    as the reference does need no record for float32, and for another precision one of the graph,
    whatever ran it: the precision is in the graph. A backend with an arithmetic of its own needs a
    record of its own, which only a server that has it can give, or one that somebody has forced.

    Args:
        name: of the model.
        precision, backend, device: as its spec has them.
        record: what the parity gate found, if it was asked.
    """
    verify = f"sparsegate-server model verify {name}"
    if backend not in _EXACT_BACKENDS:
        if record is None or not (record.forced or record.made_by(backend, device)):
            return (
                f"{name!r} runs on {backend}, whose arithmetic is its own, and nobody has compared "
                f"what it gives there: run `{verify} --triton HOST:PORT` with the server that will "
                "serve it, which records it, or export it with --backend onnxruntime"
            )
    elif precision != "fp32" and record is None:
        return (
            f"{name!r} is {precision}, and it is not known how far its vectors are from those of "
            f"fp32: run `{verify}`, which records it, or remove its folder"
        )
    return ""
