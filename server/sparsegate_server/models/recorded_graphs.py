"""A model's CUDA graphs: recorded once, and replayed for every batch.

This file is copied beside `model.py`, which imports it only on a GPU; it needs torch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
_WARM_UPS = 3


class RecordedGraphs:
    """A CUDA graph for each number of texts and length: one launch instead of hundreds.

    A batch runs in the graph of the next number of texts; rows beyond it hold an earlier batch, or
    nothing, and are cut off. All graphs share one pool of memory: they run one after another, and
    the outputs are consumed before the next batch is begun.

    https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    def __init__(self, score: Callable[[Any, Any], Any], lengths: list[int], device: str) -> None:
        """Records `score`, which makes a named tuple of tensors, or None, of ids and mask."""
        self.score = score
        self.pool = torch.cuda.graph_pool_handle()
        with torch.cuda.device(device):
            # The largest first, so that the others find room in its memory.
            self.graphs = {
                (size, length): self._record(size, length, device)
                for length in sorted(lengths, reverse=True)
                for size in reversed(_BATCH_SIZES)
            }

    def _record(self, size: int, length: int, device: str) -> tuple[Any, Any, Any, Any]:
        ids, mask = (torch.ones(size, length, dtype=torch.int32, device=device) for _ in range(2))
        # What is done only once, such as choosing an algorithm, must not be recorded.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self.score(ids, mask)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            outputs = self.score(ids, mask)
        return graph, ids, mask, outputs

    def __call__(self, ids: Any, mask: Any) -> Any:
        batch, length = ids.shape
        size = next((size for size in _BATCH_SIZES if size >= batch), 0)
        if (size, length) not in self.graphs:
            return self.score(ids, mask)
        graph, own_ids, own_mask, outputs = self.graphs[size, length]
        own_ids[:batch].copy_(ids)
        own_mask[:batch].copy_(mask)
        graph.replay()
        return outputs._make(None if each is None else each[:batch] for each in outputs)
