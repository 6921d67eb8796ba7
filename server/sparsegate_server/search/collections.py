"""Collections and their documents, as far as no text is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparsegate_server.backends.base import (
    CollectionConfig,
    CollectionStats,
    IndexBackend,
    Tier,
)
from sparsegate_server.errors import (
    CollectionExists,
    CollectionNotFound,
    InvalidRequest,
    SparsegateError,
)
from sparsegate_server.operations import Target, WriteResult
from sparsegate_server.search.models import ServedModels
from sparsegate_server.telemetry.metrics import Metrics


class CollectionPlan:
    """What changes a collection's size, and so its metrics, which bear its own name, no alias."""

    def __init__(self, models: ServedModels, backend: IndexBackend, metrics: Metrics) -> None:
        self._models = models
        self._backend = backend
        self._metrics = metrics

    async def create(
        self,
        name: str,
        model: str,
        shards: int,
        *,
        keep_text: bool = True,
        ladder: Sequence[str] = (),
    ) -> CollectionStats:
        """Creates a collection under the identity of a served model, and of those of its ladder.

        Raises:
            ModelNotFound, CollectionExists.
            InvalidRequest: the ladder has a model that makes the same vectors as one before it.
        """
        tiers = [self._tier(model, "model")]
        for at, each in enumerate(ladder):
            field = f"ladder[{at}]"
            tier = self._tier(each, field)
            twin = next((one for one in tiers if one.fingerprint == tier.fingerprint), None)
            if twin:
                raise InvalidRequest(
                    f"{each!r} makes the same vectors as {twin.model!r}: name other models, to "
                    "which that one can leave its questions while it is away",
                    field=field,
                )
            tiers.append(tier)
        config = CollectionConfig(name, tiers[0], shards, keep_text, tuple(tiers[1:]))
        return self._observed(await self._backend.create_collection(config))

    def _tier(self, model: str, field: str) -> Tier:
        """Raises ModelNotFound."""
        encoder = self._models.get(model, field=field)
        spec, execution = encoder.spec, self._models.execution(encoder)
        return Tier(
            model=spec.name,
            fingerprint=spec.fingerprint,
            vocabulary_size=spec.identity.vocabulary_size,
            identity=spec.identity.as_dict(),
            precision=execution.precision,
            inference=execution.backend,
        )

    async def delete(self, name: str) -> None:
        """Raises CollectionNotFound."""
        await self._backend.delete_collection(name)
        self._metrics.collection_deleted(name)

    async def optimize(self, name: str) -> CollectionStats:
        """Raises CollectionNotFound."""
        return self._observed(await self._backend.optimize(name))

    async def delete_documents(
        self, name: str, target: Target, *, request_id: str = ""
    ) -> WriteResult:
        """Raises CollectionNotFound, InvalidFilter, UnindexedFilter."""
        written = await self._backend.delete(name, target, request_id=request_id)
        counts = self._backend.counts(name)
        own = self._backend.config(name).name
        self._metrics.collection_changed(own, counts.documents, counts.segments)
        return written

    def model_problem(self, config: CollectionConfig) -> str:
        """Why texts cannot be encoded by all models of a collection now; "" where they can."""
        problems = []
        for tier in config.tiers:
            try:
                self._models.of_tier(tier)
            except SparsegateError as error:
                problems.append(error.message)
        return "; ".join(problems)

    def refuse_taken(self, name: str) -> None:
        """Raises CollectionExists now, rather than after an archive was sent in vain."""
        try:
            self._backend.config(name)
        except CollectionNotFound:
            return
        raise CollectionExists(
            f"{name!r} exists: restore under another name, then switch the alias", field="name"
        )

    async def restore(self, name: str, archive: Path) -> CollectionStats:
        """Makes a new collection from an archive.

        Raises:
            CollectionExists, SnapshotRefused.
        """
        return self._observed(await self._backend.restore_snapshot(name, archive))

    async def restore_kept(self, name: str, collection: str, snapshot: str) -> CollectionStats:
        """Makes a new collection from a snapshot that is kept here.

        Raises:
            CollectionNotFound, SnapshotNotFound, CollectionExists, SnapshotRefused.
        """
        return await self.restore(name, await self._backend.snapshot_path(collection, snapshot))

    def _observed(self, stats: CollectionStats) -> CollectionStats:
        self._metrics.collection_changed(stats.config.name, stats.documents, stats.segments)
        return stats
