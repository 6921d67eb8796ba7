"""Collections: named sets of documents under one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from sparsegate import _descriptions, _requests
from sparsegate._payload import check_text
from sparsegate._sync.connection import Connection, patient
from sparsegate.types import CallOptions, Collection, FieldKind
from sparsegate.v1 import collection_pb2 as pb


class CollectionCalls(Connection):
    def create_collection(
        self,
        name: str,
        *,
        model: str = "",
        shards: int | None = None,
        keep_text: bool = True,
        ladder: Sequence[str] = (),
        **options: Unpack[CallOptions],
    ) -> Collection:
        """Creates an empty collection.

        Args:
            name: 1 to 63 letters, digits, `_` and `-`, not beginning with `-`.
            model: name of a served model; empty means the only one.
            shards: number of shards, 1 when not given. Results do not depend on it.
            keep_text: whether to store texts once they are encoded. Without them the collection is
                smaller, but returns no texts and knows no required words.
            ladder: names of further served models, in the order in which they stand in for its own
                while that cannot encode a query; the result names the one that did. Each makes a
                vector of every document, so that a write needs all of them, and texts.

        Raises:
            AlreadyExists: the name is taken. After a lost connection it may be this very call that
                took it: it is sent again on `UNAVAILABLE`.
            InvalidArgument: an illegal name or number of shards, or a ladder with equal models.
            NotFound: no such model.
            SparsegateError: any other failure.
        """
        request = pb.CreateCollectionRequest(
            name=name,
            model=model,
            shards=_requests.shards(shards),
            keep_text=keep_text,
            ladder=_requests.names(ladder, "ladder"),
        )
        reply = self._call(self._collections.Create, request, options)
        return _descriptions.collection(reply.collection)

    def get_collection(self, name: str, **options: Unpack[CallOptions]) -> Collection:
        """Describes a collection, by its name or an alias.

        Raises:
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = pb.GetCollectionRequest(name=name)
        reply = self._call(self._collections.Get, request, options)
        return _descriptions.collection(reply.collection)

    def list_collections(self, **options: Unpack[CallOptions]) -> list[Collection]:
        """Describes all collections that can be read, by name.

        Raises:
            SparsegateError: the call failed.
        """
        request = pb.ListCollectionsRequest()
        reply = self._call(self._collections.List, request, options)
        return [_descriptions.collection(collection) for collection in reply.collections]

    def collection_problems(self, **options: Unpack[CallOptions]) -> dict[str, str]:
        """Why collections cannot be read, by name; empty when all can.

        Raises:
            SparsegateError: the call failed.
        """
        reply = self._call(self._collections.List, pb.ListCollectionsRequest(), options)
        return dict(reply.problems)

    def optimize(self, name: str, **options: Unpack[CallOptions]) -> Collection:
        """Merges each shard to one segment without dead documents, and waits until that is done.

        It may take long: without `timeout` it may take an hour.

        Raises:
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = pb.OptimizeCollectionRequest(name=name)
        reply = self._call(self._collections.Optimize, request, patient(options))
        return _descriptions.collection(reply.collection)

    def create_payload_index(
        self, collection: str, field: str, kind: FieldKind, **options: Unpack[CallOptions]
    ) -> int:
        """Declares an index of a payload field, and returns the number of that write.

        It is built in the background; `get_collection` tells when it is ready, and filters use it
        from then on. Declaring it again does nothing.

        Args:
            collection: name of the collection.
            field: a path into the payload, as in a filter.
            kind: what to look for there; values of any other kind are not indexed.

        Raises:
            InvalidArgument: the field cannot be understood, or has an index of another kind.
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = pb.CreatePayloadIndexRequest(
            collection=collection, field=check_text(field, "field"), kind=_requests.kind(kind)
        )
        return (self._call(self._collections.CreatePayloadIndex, request, options)).sequence

    def delete_payload_index(
        self, collection: str, field: str, **options: Unpack[CallOptions]
    ) -> bool:
        """Drops an index of a payload field; says whether there was one.

        Raises:
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = pb.DeletePayloadIndexRequest(
            collection=collection, field=check_text(field, "field")
        )
        return (self._call(self._collections.DeletePayloadIndex, request, options)).deleted

    def delete_collection(self, name: str, **options: Unpack[CallOptions]) -> None:
        """Deletes a collection with all its documents, and the aliases that point to it.

        Raises:
            NotFound: no such collection. After a lost connection it may be this very call that
                deleted it: it is sent again on `UNAVAILABLE`.
            SparsegateError: any other failure.
        """
        request = pb.DeleteCollectionRequest(name=name)
        self._call(self._collections.Delete, request, options)
