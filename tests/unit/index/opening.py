"""Collections in folders of their own, and whether they hold what a model holds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparsegate_server.filters import Filter
from sparsegate_server.index import (
    Collection,
    Parameters,
    Tuning,
    recovery,
    verification,
    warm_up,
)
from sparsegate_server.index.files.manifest import NAME, read_manifest
from sparsegate_server.index.reader import Reader
from sparsegate_server.index.view import Published, View
from sparsegate_server.operations import Document, SearchOptions
from sparsegate_server.types import DocumentId, Payload

from . import oracle
from .oracle import Model, Ranking, Vector, sparse
from .strategies import VOCABULARY


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one example of a property."""
    with tempfile.TemporaryDirectory(prefix="sparsegate") as folder:
        yield Path(folder)


@contextmanager
def opened(
    folder: Path,
    *,
    shards: int = 1,
    keep_text: bool = True,
    vocabulary: int = VOCABULARY,
    pool: ThreadPoolExecutor | None = None,
    **tuning: Any,
) -> Iterator[Collection]:
    """The collection of a folder, which is made if it is not there. Nothing seals or merges but
    the test."""
    if not folder.exists():
        recovery.create(folder, Parameters(vocabulary, shards, keep_text), {"name": "test"})
    collection = Collection(folder, Tuning(**tuning), pool=pool)
    try:
        yield collection
    finally:
        collection.close()


def copied(collection: Collection, folder: Path) -> Path:
    """What a crash would leave behind now: the files as they are, the log included."""
    collection.upsert([])  # the writer is idle behind it
    shutil.copytree(collection.folder, folder)
    return folder


def document(
    document_id: DocumentId, vector: Vector, text: str | None = None, payload: Payload | None = None
) -> Document:
    return Document(document_id, sparse(vector), text, payload or {})


def documents(model: Model) -> list[Document]:
    return [document(key, *each) for key, each in model.items()]


def hits(collection: Collection | Reader, query: Vector, options: SearchOptions | int) -> Ranking:
    if isinstance(options, int):
        options = SearchOptions(options)
    found = collection.search(sparse(query), options).hits
    return [(hit.id, hit.score) for hit in found]


def held(collection: Collection | Reader, filter: Filter | None = None) -> Model:
    """All documents that pass, in the order of their ids."""
    page = collection.scroll(None, 1_000_000, filter)
    assert page.next_after is None
    return {found.id: oracle.content(found) for found in page.documents}


def assert_holds(collection: Collection | Reader, model: Model) -> None:
    """Every way of reading gives the documents of the model."""
    assert collection.count().count == len(model)
    found = held(collection)
    assert list(found) == sorted(model, key=oracle.order)
    assert found == model
    fetched = collection.get([*model, "no such document"]).documents
    assert fetched[-1] is None
    assert [each and (each.id, oracle.content(each)) for each in fetched[:-1]] == list(
        model.items()
    )


def then(collection: Collection, view: View) -> Reader:
    """A reader that still looks at an old view."""
    now = collection._reader
    return Reader(Published(view), now._filtering, now._hydration, vocabulary=VOCABULARY, pool=None)


def assert_tidy(folder: Path) -> None:
    """The index holds the files that its manifest names, and no other."""
    index = folder / recovery.INDEX
    assert {path.name for path in index.iterdir()} == read_manifest(index).files | {NAME}


def sound(folder: Path) -> list[tuple[str, str]]:
    """What `verify` finds wrong."""
    warm_up()  # else what it calls would be compiled for whatever arrays come first
    problems: list[tuple[str, str]] = []
    verification.verify(folder, lambda *found: problems.append(found))
    return [(name, problem) for name, problem in problems if problem]
