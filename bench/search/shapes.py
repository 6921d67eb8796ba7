"""Collections of the same documents in the shapes that a collection can be in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench.search import payloads
from numpy.typing import NDArray

from sparsegate_server import index
from sparsegate_server.filters import FieldKind
from sparsegate_server.index import recovery
from sparsegate_server.index.forward import Forward
from sparsegate_server.operations import Document
from sparsegate_server.types import Payload

LAYERS = 8
TAIL = 512
DEAD_SHARE = 0.05
SEED = 5
_BATCH = 1000


def merged(folder: Path, documents: Forward, vocabulary: int) -> index.Collection:
    """One segment, as upserts in batches and the engine's own merges make it."""
    return _settled(folder, documents, vocabulary, lambda _: {}, {})


def with_payload(folder: Path, documents: Forward, vocabulary: int) -> index.Collection:
    """The same with the fields of `payloads`, each with an index."""
    made = payloads.Payloads(len(documents))
    return _settled(folder, documents, vocabulary, made.of, payloads.INDEXES)


def layered(folder: Path, documents: Forward, vocabulary: int) -> index.Collection:
    """The same documents in eight segments of interleaved ids and a tail.

    A twentieth of what the segments hold are old versions, which a later segment or the tail
    replaces: the living documents are those of `merged`, and so must be the answers.
    """
    recovery.create(folder, index.Parameters(vocabulary), {})
    everything = index.Tuning(tail_documents=2 * len(documents))  # sealed by hand alone
    collection = index.Collection(folder, everything)
    for layer in layers(len(documents)):
        _upsert(collection, documents, layer)
        collection.seal()
    _upsert(collection, documents, tail(len(documents)))
    return collection


def tail(documents: int) -> NDArray[np.int64]:
    """The ids of the documents that come last."""
    size = min(TAIL, documents // 20)
    return np.sort(np.random.default_rng(SEED).choice(documents, size, replace=False))


def layers(documents: int) -> list[NDArray[np.int64]]:
    """The ids that each segment is made of, those that will be replaced included."""
    last = tail(documents)
    others = np.setdiff1d(np.arange(documents), last)
    own = [others[number::LAYERS] for number in range(LAYERS)]
    doomed = max(0, round(documents * DEAD_SHARE) - len(last)) // (LAYERS - 1)
    draw = np.random.default_rng(SEED + 1)
    early = [np.sort(draw.choice(each, min(doomed, len(each)), replace=False)) for each in own[1:]]
    return [
        np.sort(np.concatenate([mine, ahead]))
        for mine, ahead in zip(own, [*early, last], strict=True)
    ]


def _settled(
    folder: Path,
    documents: Forward,
    vocabulary: int,
    payload: Callable[[int], Payload],
    indexes: dict[str, FieldKind],
) -> index.Collection:
    recovery.create(folder, index.Parameters(vocabulary), {})
    maintenance = index.Maintenance()
    collection = index.Collection(folder, maintenance=maintenance)
    _upsert(collection, documents, np.arange(len(documents)), payload)
    for name, kind in indexes.items():
        collection.create_index(name, kind)
    collection.optimize()
    while collection.busy:
        time.sleep(0.05)
    collection.close()
    maintenance.close()
    return index.Collection(folder)


def _upsert(
    collection: index.Collection,
    documents: Forward,
    rows: NDArray[np.int64],
    payload: Callable[[int], Payload] = lambda _: {},
) -> None:
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH].tolist()
        collection.upsert([Document(row, documents.row(row), None, payload(row)) for row in some])
