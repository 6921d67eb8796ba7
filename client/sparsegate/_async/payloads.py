"""Payloads, changed in place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from sparsegate import _replies, _requests
from sparsegate._async.connection import Connection
from sparsegate._filters import FilterLike
from sparsegate._payload import write_payload
from sparsegate.errors import InvalidArgument
from sparsegate.results import PayloadResult
from sparsegate.types import CallOptions, DocumentId, Payload, PayloadMode
from sparsegate.v1 import document_pb2 as pb

_MODES: dict[str, pb.PayloadMode.ValueType] = {
    "merge": pb.PAYLOAD_MODE_MERGE,
    "replace": pb.PAYLOAD_MODE_REPLACE,
}


class PayloadCalls(Connection):
    async def set_payload(
        self,
        collection: str,
        payload: Payload,
        *,
        ids: Iterable[DocumentId] | None = None,
        filter: FilterLike | None = None,
        mode: PayloadMode = "merge",
        **options: Unpack[CallOptions],
    ) -> PayloadResult:
        """Changes the payloads of documents; their texts and vectors stay as they are.

        Args:
            collection: name of the collection.
            payload: the fields to set.
            ids: of these documents, unknown ids passed over.
            filter: of all documents that pass it; instead of `ids`.
            mode: `merge` sets these top-level fields and leaves the others, `replace` sets the
                whole payload.

        Raises:
            InvalidArgument: a payload that the wire cannot carry, nothing to merge, a bad id or
                filter; both ids and a filter, or neither.
            NotFound: no such collection.
            FailedPrecondition: the filter needs an index.
            SparsegateError: any other failure.
        """
        if mode not in _MODES:
            raise InvalidArgument(f"{mode!r} is neither 'merge' nor 'replace'", field="mode")
        request = _requests.set_payload(collection, ids, filter)
        request.mode = _MODES[mode]
        write_payload(request.payload, payload)
        return _replies.payload(await self._call(self._documents.SetPayload, request, options))

    async def remove_payload(
        self,
        collection: str,
        keys: Iterable[str],
        *,
        ids: Iterable[DocumentId] | None = None,
        filter: FilterLike | None = None,
        **options: Unpack[CallOptions],
    ) -> PayloadResult:
        """Removes top-level fields from the payloads of documents.

        Args:
            collection: name of the collection.
            keys: the fields; those that a payload lacks are passed over.
            ids: of these documents, unknown ids passed over.
            filter: of all documents that pass it; instead of `ids`.

        Raises:
            InvalidArgument: no keys, a bad id or filter; both ids and a filter, or neither.
            NotFound: no such collection.
            FailedPrecondition: the filter needs an index.
            SparsegateError: any other failure.
        """
        request = _requests.set_payload(collection, ids, filter)
        request.mode = pb.PAYLOAD_MODE_REMOVE
        request.keys.extend(_requests.names(keys, "keys"))
        return _replies.payload(await self._call(self._documents.SetPayload, request, options))
