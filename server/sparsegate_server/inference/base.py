"""The one protocol that all inference backends meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Texts of one padded length.

    Attributes:
        input_ids: int32 [batch, length], zero where padded.
        attention_mask: int32 [batch, length], 1 for real tokens, else 0.
    """

    input_ids: NDArray[np.int32]
    attention_mask: NDArray[np.int32]


class InferenceBackend(Protocol):
    """Runs the graph of a model.

    Outputs by the spec's `output`, as `models.signature` names them:
        terms:  "indices" uint16 or uint32 [batch, k], "values" float32 [batch, k]; in each row the
                weights descend and are zero past the row's own count. k is the count of the fullest
                row, at most `max_terms + 1`: a row with more than `max_terms` weights was capped.
        pooled: "pooled" float32 [batch, vocabulary]: weights, zero at or below the threshold.
        logits: "logits" float32 [batch, length, vocabulary].
    With the spec's `positions`, terms and pooled have "positions" besides, uint16 of the shape of
    the weights: the token that gave each its maximum, or most of its sum; zero where no weight is.

    A query goes to `spec.for_queries`, whose graph may be another one than the documents'.

    Attributes:
        name: as the settings name it.
        side_by_side: whether a model and its successor of the same name can be loaded at once.
    """

    name: str
    side_by_side: bool

    async def infer(
        self, spec: ModelSpec, batch: TokenBatch, *, timeout: float | None = None
    ) -> Mapping[str, NDArray[np.generic]]:
        """Runs one batch.

        Args:
            timeout: seconds that are left to the caller, or None.

        Raises:
            InferenceUnavailable: the server cannot be reached or is not ready.
            DeadlineExceeded: the time ran out.
            InferenceFailed: the graph failed.
            ModelNotFound: the server does not have this model.
        """
        ...

    async def ready(self, spec: ModelSpec) -> bool:
        """Whether `infer` can be expected to work now. Never raises."""
        ...

    async def load(self, spec: ModelSpec) -> None:
        """Makes a model's graphs run, as its folder has them now; others go on meanwhile. Loading
        what is loaded already reads its folder again.

        Raises:
            ModelSourceError: a graph is missing or not understood.
            ModelLoadFailed: the server did not load it; it runs what it ran before.
            InferenceUnavailable: no server can be reached.
        """
        ...

    async def unload(self, spec: ModelSpec, *, successor: ModelSpec | None = None) -> None:
        """Frees a model's graphs. Nobody may be using it any more. Never raises.

        Args:
            successor: the model of the same name that was loaded in its place. What runs for it
                stays.
        """
        ...

    async def close(self) -> None:
        """Frees what the backend holds; in-flight calls finish first."""
        ...
