"""Aliases: other names of collections, switched all at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from sparsegate import _descriptions
from sparsegate._async.connection import Connection
from sparsegate.types import Alias, AliasChange, CallOptions
from sparsegate.v1 import collection_pb2 as pb


class AliasCalls(Connection):
    async def update_aliases(
        self, changes: Iterable[AliasChange], **options: Unpack[CallOptions]
    ) -> list[Alias]:
        """Points aliases to collections and removes them: all changes at once, or none.

        A search that runs meanwhile sees either the old collection or the new one. Removing an
        alias that does not exist does nothing.

        Returns:
            All aliases, after the changes.

        Raises:
            AlreadyExists: an alias has the name of a collection.
            InvalidArgument: no changes, too many, or an illegal name.
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = pb.UpdateAliasesRequest(changes=map(_change, changes))
        reply = await self._call(self._collections.UpdateAliases, request, options)
        return _descriptions.aliases(reply)

    async def set_alias(
        self, alias: str, collection: str, **options: Unpack[CallOptions]
    ) -> list[Alias]:
        """Points an alias to a collection, whatever it was before; returns all aliases.

        Raises:
            AlreadyExists: a collection has that name.
            InvalidArgument: an illegal name.
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        return await self.update_aliases([AliasChange(alias, collection)], **options)

    async def delete_alias(self, alias: str, **options: Unpack[CallOptions]) -> list[Alias]:
        """Removes an alias, if there is one; returns all others.

        Raises:
            InvalidArgument: an illegal name.
            SparsegateError: any other failure.
        """
        return await self.update_aliases([AliasChange(alias, None)], **options)

    async def list_aliases(self, **options: Unpack[CallOptions]) -> list[Alias]:
        """All aliases, by name.

        Raises:
            SparsegateError: the call failed.
        """
        reply = await self._call(self._collections.ListAliases, pb.ListAliasesRequest(), options)
        return _descriptions.aliases(reply)


def _change(change: AliasChange) -> pb.AliasChange:
    if change.collection is None:
        return pb.AliasChange(alias=change.alias, remove=True)
    return pb.AliasChange(alias=change.alias, collection=change.collection)
