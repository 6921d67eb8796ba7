"""Collections and their documents, as far as no text is encoded."""

from __future__ import annotations

from collections.abc import Sequence

from sparsegate_server.backends.base import (
    CollectionConfig,
    CollectionStats,
    IndexBackend,
    WriteResult,
)
from sparsegate_server.search.models import ServedModels
from sparsegate_server.telemetry.metrics import Metrics
from sparsegate_server.types import DocumentId


class CollectionPlan:
    def __init__(self, models: ServedModels, backend: IndexBackend, metrics: Metrics) -> None:
        self._models = models
        self._backend = backend
        self._metrics = metrics

    async def create(self, name: str, model: str, shards: int) -> CollectionStats:
        """Creates a collection under a served model's identity.

        Raises:
            ModelNotFound, CollectionExists.
        """
        spec = self._models.get(model).spec
        stats = await self._backend.create_collection(
            CollectionConfig(
                name=name,
                model=spec.name,
                fingerprint=spec.fingerprint,
                vocabulary_size=spec.identity.vocabulary_size,
                shards=shards,
            )
        )
        self._metrics.collection_changed(name, stats.documents, stats.segments)
        return stats

    async def delete(self, name: str) -> None:
        """Raises CollectionNotFound."""
        await self._backend.delete_collection(name)
        self._metrics.collection_deleted(name)

    async def delete_documents(self, name: str, ids: Sequence[DocumentId]) -> WriteResult:
        """Raises CollectionNotFound."""
        written = await self._backend.delete(name, ids)
        stats = await self._backend.get_collection(name)
        self._metrics.collection_changed(name, stats.documents, stats.segments)
        return written
