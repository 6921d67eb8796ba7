"""Larger collections: the documents again and again, each time with other weights and terms.

A replica drops a tenth of a document's terms, moves the weights of the others by up to a tenth, and
jitters them as the data's description demands; its seed is its number.

Their collection is made of segment files, two a replica, which the engine then merges into one as
it always does. The store stays empty: searches that ask for nothing but ids do not look at it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench import wiki
from bench.search.inputs import first
from numpy.typing import NDArray

from sparsegate_server import index
from sparsegate_server.index import recovery
from sparsegate_server.index.files.manifest import (
    Manifest,
    SegmentFile,
    read_manifest,
    write_manifest,
)
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.ids import encode
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.segment import Details, Segment
from sparsegate_server.index.segment_file import write_segment

DROPPED = 0.1
_SEED = 17
_SPREAD = 0.1


class Grown(NamedTuple):
    """Attributes:
    pieces_seconds, merge_seconds: to make the segments and their files, and to merge them.
    frequencies: int64 [vocabulary], documents with each term.
    """

    folder: Path
    pieces_seconds: float
    merge_seconds: float
    frequencies: NDArray[np.int64]


def pieces(data: Path, documents: int | None, factor: int) -> Iterator[Forward]:
    """`factor` replicas, each in two halves, ids in order."""
    base = wiki.read(data, jitter=False).documents
    base = base if documents is None else first(base, documents)
    for number in range(factor):
        yield from _halves(replica(base, number))


def replica(base: Forward, number: int) -> Forward:
    """Args:
    base: weights as rounded in the file, multiples of 1/64.
    """
    draw = np.random.default_rng([_SEED, number])
    kept = draw.random(len(base.terms), np.float32) >= DROPPED
    before = np.concatenate([[0], np.cumsum(kept)])
    weights = base.weights[kept]
    weights *= draw.random(len(weights), np.float32) * (2 * _SPREAD) + (1 - _SPREAD)
    weights += (draw.random(len(weights), np.float32) - np.float32(0.5)) / 64
    return Forward(before[base.indptr], base.terms[kept], weights)


def _halves(documents: Forward) -> list[Forward]:
    middle = len(documents) // 2
    cut = int(documents.indptr[middle])
    rest = Forward(documents.indptr[middle:] - cut, documents.terms[cut:], documents.weights[cut:])
    return [first(documents, middle), rest]


def grow(folder: Path, data: Path, documents: int | None, factor: int) -> Grown:
    """Makes the merged collection of `factor` replicas."""
    recovery.create(folder, index.Parameters(wiki.VOCABULARY), {})
    place = folder / recovery.INDEX
    identity = read_manifest(place).collection
    frequencies = np.zeros(wiki.VOCABULARY, np.int64)
    files: list[SegmentFile] = []
    rows, seconds = 0, 0.0
    for piece in pieces(data, documents, factor):
        frequencies += np.bincount(piece.terms, minlength=wiki.VOCABULARY)
        stored = piece.stored(wiki.VOCABULARY)
        begin = time.perf_counter()
        segment = segment_of(stored, rows, wiki.VOCABULARY)
        files.append(SegmentFile(0, f"{len(files) + 1:08d}.segment"))
        write_segment(place / files[-1].file, segment, identity, wiki.VOCABULARY)
        seconds += time.perf_counter() - begin
        rows += len(piece)
    write_manifest(place, Manifest(identity, 1, rows, 0, tuple(files)))
    collection = index.Collection(folder)
    begin = time.perf_counter()
    collection.optimize()
    merge_seconds = time.perf_counter() - begin
    collection.close()
    return Grown(folder, seconds, merge_seconds, frequencies)


def segment_of(documents: Forward, start: int, vocabulary: int) -> Segment:
    """Inverts documents with the ids from `start` on, alive from the beginning."""
    rows = len(documents)
    return Segment.build(keys_of(start, rows), details_of(start, rows), documents, vocabulary)


def keys_of(start: int, rows: int) -> Keys:
    return Keys.of([encode(start + row) for row in range(rows)])


def details_of(start: int, rows: int) -> Details:
    return Details(
        np.arange(start + 1, start + rows + 1),
        np.zeros(rows, np.uint64),
        np.zeros(rows, np.uint32),
        np.zeros(rows, np.uint32),
    )
