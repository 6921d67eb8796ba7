"""CollectionService."""

from __future__ import annotations

from sparsegate.v1 import collection_pb2, collection_pb2_grpc
from sparsegate_server.backends.base import CollectionStats, IndexBackend
from sparsegate_server.rpc.interceptor import Context
from sparsegate_server.search.collections import CollectionPlan


class CollectionServicer(collection_pb2_grpc.CollectionServiceServicer):
    def __init__(self, plan: CollectionPlan, backend: IndexBackend) -> None:
        self._plan = plan
        self._backend = backend

    async def Create(
        self, request: collection_pb2.CreateCollectionRequest, context: Context
    ) -> collection_pb2.CreateCollectionResponse:
        shards = request.shards if request.HasField("shards") else 1
        stats = await self._plan.create(request.name, request.model, shards)
        return collection_pb2.CreateCollectionResponse(collection=_collection(stats))

    async def Get(
        self, request: collection_pb2.GetCollectionRequest, context: Context
    ) -> collection_pb2.GetCollectionResponse:
        stats = await self._backend.get_collection(request.name)
        return collection_pb2.GetCollectionResponse(collection=_collection(stats))

    async def List(
        self, request: collection_pb2.ListCollectionsRequest, context: Context
    ) -> collection_pb2.ListCollectionsResponse:
        every = await self._backend.list_collections()
        return collection_pb2.ListCollectionsResponse(collections=map(_collection, every))

    async def Delete(
        self, request: collection_pb2.DeleteCollectionRequest, context: Context
    ) -> collection_pb2.DeleteCollectionResponse:
        await self._plan.delete(request.name)
        return collection_pb2.DeleteCollectionResponse()


def _collection(stats: CollectionStats) -> collection_pb2.Collection:
    config = stats.config
    return collection_pb2.Collection(
        name=config.name,
        model=config.model,
        fingerprint=config.fingerprint,
        vocabulary_size=config.vocabulary_size,
        shards=config.shards,
        documents=stats.documents,
        sequence=stats.sequence,
        segments=stats.segments,
        postings=stats.postings,
        tombstones=stats.tombstones,
    )
