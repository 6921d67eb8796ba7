"""Makes a data folder where there is none, and makes, names, archives and deletes collections in it
through the backend; acknowledges after each step all that must be there from then on.

Arguments: the folder in which it makes the folder `data`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import traced
from backend_world import plain, settle

from sparsegate_server.backends.base import AliasChange, CollectionConfig, Tier
from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.filters import FieldKind
from sparsegate_server.index import recovery, warm_up
from sparsegate_server.index.data_folder import DataFolder
from sparsegate_server.operations import Document
from sparsegate_server.settings import Index
from sparsegate_server.types import SparseVector


class Life:
    """What is asked of the backend, and beside it what must come of it, in the form of JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._backend = EmbeddedBackend(Index(folder=path, threads=1))
        self._world: dict[str, Any] = {"collections": {}, "aliases": {}, "snapshots": {}}

    def acknowledge(self, step: str) -> None:
        traced.acknowledge({"step": step, "world": self._world})

    async def start(self) -> None:
        self._backend = EmbeddedBackend(Index(folder=self._path, threads=1))
        await self._backend.start()

    async def create(self, name: str, shards: int = 1) -> None:
        await self._backend.create_collection(
            CollectionConfig(name, Tier("model", "print", 40), shards)
        )
        self._world["collections"][name] = {"documents": {}, "fields": []}
        self.acknowledge(f"{name} created")

    async def upsert(self, name: str, ids: Sequence[str]) -> None:
        documents = [document(each, name) for each in ids]
        await self._backend.upsert(name, documents)
        held = self._world["collections"][name]["documents"]
        held.update({each.id: plain(each.vector, each.text, each.payload) for each in documents})
        self.acknowledge(f"{name} written")

    async def point(self, **aliases: str | None) -> None:
        await self._backend.update_aliases([AliasChange(*pair) for pair in aliases.items()])
        named = {**self._world["aliases"], **aliases}
        self._world["aliases"] = {alias: name for alias, name in named.items() if name}
        self.acknowledge(f"aliases {aliases}")

    async def index(self, name: str, field: str) -> None:
        await self._backend.create_payload_index(name, field, FieldKind.KEYWORD)
        self._world["collections"][name]["fields"].append(field)
        self.acknowledge(f"{name} indexed")
        await settle(self._backend)

    async def delete(self, name: str) -> None:
        await self._backend.delete_collection(name)
        del self._world["collections"][name]
        aliases = self._world["aliases"].items()
        self._world["aliases"] = {alias: each for alias, each in aliases if each != name}
        self.acknowledge(f"{name} deleted")

    async def snapshot(self, name: str) -> str:
        made = await self._backend.create_snapshot(name)
        self._world["snapshots"].setdefault(name, []).append([made.name, made.documents])
        self.acknowledge(f"{name} archived")
        return made.name

    async def restore(self, name: str, origin: str, snapshot: str) -> None:
        await self._backend.restore_snapshot(
            name, await self._backend.snapshot_path(origin, snapshot)
        )
        self._world["collections"][name] = deepcopy(self._world["collections"][origin])
        self.acknowledge(f"{name} restored")

    async def delete_snapshot(self, name: str, snapshot: str) -> None:
        await self._backend.delete_snapshot(name, snapshot)
        del self._world["snapshots"][name]
        self.acknowledge(f"{snapshot} deleted")

    async def rebuild(self, name: str) -> None:
        """As `sparsegate-server index rebuild` does it while no gateway serves the folder."""
        await self._backend.close()
        self.acknowledge("closed")
        folder = DataFolder(self._path)
        recovery.rebuild(folder.collection(name))
        folder.close()
        self.acknowledge(f"{name} rebuilt")
        await self.start()
        self.acknowledge("reopened")
        await settle(self._backend)

    async def close(self) -> None:
        await self._backend.close()


def document(key: str, collection: str) -> Document:
    number = int(key)
    indices = np.array([number, number + 1, 30], np.uint32)
    vector = SparseVector(indices, np.array([0.5, 1.25, number + 1.0], np.float32))
    return Document(key, vector, f"{number} of {collection} " * 40, {"group": f"g{number % 3}"})


async def main(folder: Path) -> None:
    warm_up()
    traced.begin()
    life = Life(folder / "data")
    await life.start()
    await life.create("films")
    await life.upsert("films", ["1", "2", "3"])
    await life.snapshot("films")
    await life.point(best="films", all="films")
    await life.create("books", shards=2)
    await life.upsert("books", ["4", "5", "6", "7", "8"])
    await life.point(best="books")
    await life.delete("films")
    await life.create("films")
    snapshot = await life.snapshot("books")
    await life.restore("copies", "books", snapshot)
    await life.upsert("copies", ["9"])
    await life.rebuild("books")
    await life.index("books", "group")
    await life.delete_snapshot("books", snapshot)
    await life.point(best=None)
    await life.close()


asyncio.run(main(Path(sys.argv[1])))
