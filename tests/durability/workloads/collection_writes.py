"""Lives a drawn life in a new collection and acknowledges each request once it has returned.

Arguments: the folder, how many requests, and "by hand" or "in background": who seals and merges.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import traced
from collection_steps import (
    FIELDS,
    SHARDS,
    VOCABULARY,
    CreateIndex,
    Delete,
    Request,
    SetPayload,
    Tidy,
    Upsert,
    life,
)

from sparsegate_server.index import Collection, Maintenance, Parameters, Tuning, warm_up
from sparsegate_server.index.files.durable import sync_folder
from sparsegate_server.index.recovery import create
from sparsegate_server.operations import WriteResult


def main(folder: Path, requests: int, tidied: str) -> None:
    warm_up()
    traced.begin()
    create(folder / "collection", Parameters(VOCABULARY, SHARDS), {})
    sync_folder(folder)
    traced.acknowledge("created")
    maintenance = Maintenance() if tidied == "in background" else None
    tuning = Tuning(tail_documents=8)
    with closing(Collection(folder / "collection", tuning, maintenance=maintenance)) as collection:
        for step in life(requests):
            if not isinstance(step, Tidy):
                traced.acknowledge(done(collection, step).sequence)
            elif maintenance is None:
                tidy(collection)
    if maintenance:
        maintenance.close()


def done(collection: Collection, request: Request) -> WriteResult:
    match request:
        case Upsert(documents):
            return collection.upsert(documents)
        case Delete(target):
            return collection.delete(target)
        case SetPayload(target, change):
            return collection.set_payload(target, change)
        case CreateIndex(field):
            return collection.create_index(field, FIELDS[field])


def tidy(collection: Collection) -> None:
    collection.seal()
    while collection.merge() or collection.build_indexes():
        pass


main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
