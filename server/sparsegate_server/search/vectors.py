"""Vectors that callers bring along."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.backends.base import Tier
from sparsegate_server.errors import SparsegateError
from sparsegate_server.search.models import ServedModels
from sparsegate_server.types import SparseVector


@dataclass(frozen=True, slots=True)
class RawVector:
    """A caller's vector, not yet checked.

    Attributes:
        indices: uint32 [n], in any order.
        values: float32 [m].
        fingerprint: of the model that made it, or "" where the caller did not say.
    """

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]
    fingerprint: str = ""

    def accept(self, tier: Tier, models: ServedModels) -> SparseVector:
        """The vector, checked against the model of a collection.

        Raises:
            FingerprintMismatch, InvalidVector, UnknownTerm: with a field below `vector`.
        """
        try:
            if self.fingerprint:
                models.check_vector(self.fingerprint, tier)
            return SparseVector.from_untrusted(self.indices, self.values, tier.vocabulary_size)
        except SparsegateError as error:
            raise error.under("vector") from None
