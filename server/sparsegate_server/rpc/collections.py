"""CollectionService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from sparsegate.v1 import collection_pb2, collection_pb2_grpc, snapshot_pb2
from sparsegate_server.backends.base import AliasChange, CollectionStats, IndexBackend
from sparsegate_server.errors import InvalidRequest
from sparsegate_server.rpc import archives
from sparsegate_server.rpc.describe import alias_to, collection_to, kind_from, snapshot_to
from sparsegate_server.rpc.interceptor import Context
from sparsegate_server.search.collections import CollectionPlan
from sparsegate_server.settings import Limits


class CollectionServicer(collection_pb2_grpc.CollectionServiceServicer):
    """`scratch` is where archives are kept while they are received."""

    def __init__(
        self,
        plan: CollectionPlan,
        backend: IndexBackend,
        limits: Limits,
        scratch: Path | None = None,
    ) -> None:
        self._plan = plan
        self._backend = backend
        self._limits = limits
        self._scratch = scratch

    async def Create(
        self, request: collection_pb2.CreateCollectionRequest, context: Context
    ) -> collection_pb2.CreateCollectionResponse:
        stats = await self._plan.create(
            request.name,
            request.model,
            request.shards if request.HasField("shards") else 1,
            keep_text=request.keep_text if request.HasField("keep_text") else True,
            ladder=request.ladder,
        )
        return collection_pb2.CreateCollectionResponse(collection=self._described(stats))

    async def Get(
        self, request: collection_pb2.GetCollectionRequest, context: Context
    ) -> collection_pb2.GetCollectionResponse:
        stats = await self._backend.get_collection(request.name)
        return collection_pb2.GetCollectionResponse(collection=self._described(stats))

    async def List(
        self, request: collection_pb2.ListCollectionsRequest, context: Context
    ) -> collection_pb2.ListCollectionsResponse:
        every = await self._backend.list_collections()
        return collection_pb2.ListCollectionsResponse(
            collections=map(self._described, every), problems=self._backend.problems()
        )

    async def Delete(
        self, request: collection_pb2.DeleteCollectionRequest, context: Context
    ) -> collection_pb2.DeleteCollectionResponse:
        await self._plan.delete(request.name)
        return collection_pb2.DeleteCollectionResponse()

    async def Optimize(
        self, request: collection_pb2.OptimizeCollectionRequest, context: Context
    ) -> collection_pb2.OptimizeCollectionResponse:
        stats = await self._plan.optimize(request.name)
        return collection_pb2.OptimizeCollectionResponse(collection=self._described(stats))

    async def UpdateAliases(
        self, request: collection_pb2.UpdateAliasesRequest, context: Context
    ) -> collection_pb2.UpdateAliasesResponse:
        changes = [
            AliasChange(change.alias, None if change.remove else change.collection)
            for change in request.changes
        ]
        aliases = await self._backend.update_aliases(changes)
        return collection_pb2.UpdateAliasesResponse(aliases=map(alias_to, aliases))

    async def ListAliases(
        self, request: collection_pb2.ListAliasesRequest, context: Context
    ) -> collection_pb2.ListAliasesResponse:
        aliases = await self._backend.list_aliases()
        return collection_pb2.ListAliasesResponse(aliases=map(alias_to, aliases))

    async def CreatePayloadIndex(
        self, request: collection_pb2.CreatePayloadIndexRequest, context: Context
    ) -> collection_pb2.CreatePayloadIndexResponse:
        written = await self._backend.create_payload_index(
            request.collection, request.field, kind_from(request.kind)
        )
        return collection_pb2.CreatePayloadIndexResponse(sequence=written.sequence)

    async def DeletePayloadIndex(
        self, request: collection_pb2.DeletePayloadIndexRequest, context: Context
    ) -> collection_pb2.DeletePayloadIndexResponse:
        written = await self._backend.delete_payload_index(request.collection, request.field)
        return collection_pb2.DeletePayloadIndexResponse(
            deleted=written.affected > 0, sequence=written.sequence
        )

    async def CreateSnapshot(
        self, request: snapshot_pb2.CreateSnapshotRequest, context: Context
    ) -> snapshot_pb2.CreateSnapshotResponse:
        taken = await self._backend.create_snapshot(request.collection)
        return snapshot_pb2.CreateSnapshotResponse(snapshot=snapshot_to(taken))

    async def ListSnapshots(
        self, request: snapshot_pb2.ListSnapshotsRequest, context: Context
    ) -> snapshot_pb2.ListSnapshotsResponse:
        kept = await self._backend.list_snapshots(request.collection)
        return snapshot_pb2.ListSnapshotsResponse(snapshots=map(snapshot_to, kept))

    async def DeleteSnapshot(
        self, request: snapshot_pb2.DeleteSnapshotRequest, context: Context
    ) -> snapshot_pb2.DeleteSnapshotResponse:
        await self._backend.delete_snapshot(request.collection, request.snapshot)
        return snapshot_pb2.DeleteSnapshotResponse()

    async def DownloadSnapshot(
        self, request: snapshot_pb2.DownloadSnapshotRequest, context: Context
    ) -> AsyncIterator[snapshot_pb2.DownloadSnapshotResponse]:
        path = await self._backend.snapshot_path(request.collection, request.snapshot)
        async for chunk in archives.chunks(path):
            yield chunk

    async def RestoreSnapshot(
        self,
        request_iterator: AsyncIterator[snapshot_pb2.RestoreSnapshotRequest],
        context: Context,
    ) -> collection_pb2.RestoreSnapshotResponse:
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "target":
            raise InvalidRequest("the first message must name the collection", field="target")
        name = first.target.collection
        if first.target.HasField("snapshot"):
            kept = first.target.snapshot
            stats = await self._plan.restore_kept(name, kept.collection, kept.snapshot)
        else:
            self._plan.refuse_taken(name)
            largest = self._limits.max_snapshot_bytes
            async with archives.received(request_iterator, largest, self._scratch) as archive:
                stats = await self._plan.restore(name, archive)
        return collection_pb2.RestoreSnapshotResponse(collection=self._described(stats))

    def _described(self, stats: CollectionStats) -> collection_pb2.Collection:
        return collection_to(stats, self._plan.model_problem(stats.config))
