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

    Outputs by the spec's `output`:
        terms:  "indices" uint16 or uint32 [batch, k], "values" float32 [batch, k]; in each row the
                weights descend and are zero past the row's own count. k is the count of the fullest
                row, at most `max_terms + 1`: a row with more than `max_terms` weights was capped.
        logits: "logits" float32 [batch, length, vocabulary].
    """

    name: str

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

    async def close(self) -> None:
        """Frees what the backend holds; in-flight calls finish first."""
        ...
