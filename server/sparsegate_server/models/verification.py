"""What the parity gate found of a model's graph, as the model's description keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


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

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Verification:
        """What `dataclasses.asdict` gave, through JSON. Raises KeyError and TypeError."""
        values = {each.name: raw[each.name] for each in fields(cls)}
        return cls(
            **{**values, "limits": dict(values["limits"]), "failed": tuple(values["failed"])}
        )
