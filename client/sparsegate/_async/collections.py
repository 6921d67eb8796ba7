"""Collections: named sets of documents under one model."""

from __future__ import annotations

from typing import Unpack

from sparsegate import _replies
from sparsegate._async.connection import Connection
from sparsegate.types import CallOptions, Collection
from sparsegate.v1 import collection_pb2 as pb


class CollectionCalls(Connection):
    async def create_collection(
        self,
        name: str,
        *,
        model: str = "",
        shards: int | None = None,
        **options: Unpack[CallOptions],
    ) -> Collection:
        """Creates an empty collection.

        Args:
            name: 1 to 63 letters, digits, `_` and `-`, not beginning with `-`.
            model: name of a served model; empty means the only one.
            shards: number of shards, 1 when not given. Results do not depend on it.

        Raises:
            AlreadyExists: the name is taken. After a lost connection it may be this very call that
                took it: it is sent again on `UNAVAILABLE`.
            InvalidArgument: an illegal name or number of shards.
            NotFound: no such model.
            SparsegateError: any other failure.
        """
        request = pb.CreateCollectionRequest(name=name, model=model, shards=shards)
        reply = await self._call(self._collections.Create, request, options)
        return _replies.collection(reply.collection)

    async def get_collection(self, name: str, **options: Unpack[CallOptions]) -> Collection:
        """Describes a collection.

        Raises:
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = pb.GetCollectionRequest(name=name)
        reply = await self._call(self._collections.Get, request, options)
        return _replies.collection(reply.collection)

    async def list_collections(self, **options: Unpack[CallOptions]) -> list[Collection]:
        """Describes all collections, by name.

        Raises:
            SparsegateError: the call failed.
        """
        request = pb.ListCollectionsRequest()
        reply = await self._call(self._collections.List, request, options)
        return [_replies.collection(collection) for collection in reply.collections]

    async def delete_collection(self, name: str, **options: Unpack[CallOptions]) -> None:
        """Deletes a collection with all its documents.

        Raises:
            NotFound: no such collection. After a lost connection it may be this very call that
                deleted it: it is sent again on `UNAVAILABLE`.
            SparsegateError: any other failure.
        """
        request = pb.DeleteCollectionRequest(name=name)
        await self._call(self._collections.Delete, request, options)
