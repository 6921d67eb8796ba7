"""What a backend holds, in the form of JSON: shared by the workload that makes it and its test."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.types import SparseVector

_PAUSE_S: Final = 0.005


def plain(vector: SparseVector, text: str | None, payload: Mapping[str, Any]) -> list[Any]:
    """A document."""
    return [vector.indices.tolist(), vector.values.tolist(), text, dict(payload)]


async def settle(backend: EmbeddedBackend) -> None:
    """Waits for the end of the background work, in which files come and go."""
    while any(  # noqa: ASYNC110 - it has no event to wait for
        each.busy or not all(index.ready for index in each.payload_indexes)
        for each in await backend.list_collections()
    ):
        await asyncio.sleep(_PAUSE_S)
