"""What one batch may hold and how its texts are padded: pure planning."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.spec import ModelSpec

LOGIT_BYTES_PER_BATCH = 128 * 2**20
"""Raw logits are 15.6 MB a text of 128 tokens, and one gRPC message carries less than 2 GB."""

Outputs: TypeAlias = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class ServedGraph:
    """A graph as the queue sees it: texts for one and the same graph may share a batch.

    Attributes:
        spec: names the graph to the inference backend.
        decode: one result a text from the outputs of a batch. Raises InferenceFailed.
    """

    spec: ModelSpec
    decode: Callable[[Outputs, TokenBatch], Awaitable[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class BatchRules:
    """Attributes:
    max_texts: most texts of a batch.
    max_tokens: most padded tokens of a batch of more than one text.
    step: texts are padded to multiples of so many tokens where the graph runs on a processor, which
        gains nothing from joining the batches of several gateways; 0 pads to the spec's few fixed
        lengths, as a server wants that joins only equal shapes.
    overhead: what a batch costs besides its texts, in tokens. For less padding than that, the last
        few texts of one length travel with those of another.
    quiet_tokens: as `max_tokens`, while no query comes that would have to wait for the batch; 0 for
        the same.
    gpu_tokens: as both, where the graph runs on a GPU, as it never does in this process; 0 for the
        same.
    may_use_gpu: whether a graph for a GPU runs on one: then at the fixed lengths alone.
    """

    max_texts: int
    max_tokens: int
    step: int
    overhead: int
    quiet_tokens: int = 0
    gpu_tokens: int = 0
    may_use_gpu: bool = False

    def padded(self, spec: ModelSpec, tokens: int) -> int:
        """The length in tokens that a text is padded to."""
        if self.step and not self._on_gpu(spec):
            return min(-(-tokens // self.step) * self.step, spec.identity.max_length)
        buckets = spec.length_buckets
        return buckets[bisect_left(buckets, tokens)]

    def capacity(self, spec: ModelSpec, length: int, *, quiet: bool = False) -> int:
        """How many texts of a padded length one batch may hold, at least one.

        Args:
            quiet: whether no query comes.
        """
        tokens = (quiet and self.quiet_tokens) or self.max_tokens
        if self._on_gpu(spec):
            tokens = self.gpu_tokens or tokens
        texts = min(self.max_texts, tokens // length)
        if spec.output == "logits":
            row = length * spec.identity.vocabulary_size * np.dtype(np.float32).itemsize
            texts = min(texts, LOGIT_BYTES_PER_BATCH // row)
        return max(1, texts)

    def _on_gpu(self, spec: ModelSpec) -> bool:
        return self.may_use_gpu and spec.device == "gpu"


def pad(rows: Sequence[NDArray[np.int32]], length: int) -> TokenBatch:
    """Token ids int32 [n] of several texts, padded on the right to `length` tokens."""
    input_ids = np.zeros((len(rows), length), np.int32)
    attention_mask = np.zeros((len(rows), length), np.int32)
    for at, ids in enumerate(rows):
        input_ids[at, : len(ids)] = ids
        attention_mask[at, : len(ids)] = 1
    return TokenBatch(input_ids, attention_mask)
