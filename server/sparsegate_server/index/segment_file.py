"""Segments and payload columns as files.

The kind of a segment's postings is written down, and a reader refuses any that it does not know, so
that postings with a vector each (COIL) or with frequency and length (BM25) can come as further
kinds. Today there are `impact8`, and `impact8-columns`, which is written now and has heavy terms as
dense columns.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.filters import FieldKind
from sparsegate_server.index.files import container
from sparsegate_server.index.files.container import Arrays, Container, Damaged
from sparsegate_server.index.filter.column import Column
from sparsegate_server.index.forward import Forward, term_type
from sparsegate_server.index.kernels import BLOCK, BLOCKS, WINDOW
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.postings import Postings
from sparsegate_server.index.segment import Deaths, Details, Segment

_SEGMENT: Final = "segment"
_COLUMN: Final = "column"
_POSTINGS: Final = "impact8-columns"
_WITHOUT_COLUMNS: Final = "impact8"
_STRUCTURAL: Final = (
    "key_offsets",
    "indptr",
    "window_terms",
    "ranges",
    "blocks",
    "columns",
)
_TYPES: Final = {
    "key_blob": np.uint8,
    "key_offsets": np.int64,
    "numbers": np.int64,
    "born": np.uint64,
    "text_bytes": np.uint32,
    "payload_bytes": np.uint32,
    "indptr": np.int64,
    "weights": np.float32,
    "window_terms": np.int64,
    "terms": np.uint32,
    "ranges": np.int64,
    "local_ids": np.uint16,
    "impacts": np.uint8,
    "scales": np.float32,
    "blocks": np.int32,
    "block_maxima": np.uint8,
    "columns": np.int64,
    "dense": np.uint8,
}


def write_segment(path: Path, segment: Segment, collection: str, vocabulary: int) -> int:
    """Writes and syncs a file; its folder is left to the caller. Returns its size in bytes."""
    details, forward, postings = segment.details, segment.forward, segment.postings
    arrays: dict[str, NDArray[Any]] = {
        "key_blob": segment.keys.blob,
        "key_offsets": segment.keys.offsets,
        "numbers": details.numbers,
        "born": details.born,
        "text_bytes": details.text_bytes,
        "payload_bytes": details.payload_bytes,
        "indptr": forward.indptr,
        "forward_terms": forward.terms,
        "weights": forward.weights,
        "window_terms": postings.window_terms,
        "terms": postings.terms,
        "ranges": postings.ranges,
        "local_ids": postings.local_ids,
        "impacts": postings.impacts,
        "scales": postings.scales,
        "blocks": postings.blocks,
        "block_maxima": postings.block_maxima,
        "columns": postings.columns,
        "dense": postings.dense,
    }
    facts = {
        "collection": collection,
        "vocabulary": vocabulary,
        "documents": segment.rows,
        "postings": _POSTINGS,
    }
    return container.write(path, _SEGMENT, facts, arrays, structural=_STRUCTURAL)


def open_segment(path: Path, collection: str, vocabulary: int) -> Segment:
    """A segment over a mapped file; all its documents are alive.

    Raises:
        CorruptIndex: the file is missing, truncated, damaged or foreign.
    """
    file = container.open_file(path, _SEGMENT)
    _check_facts(file, collection, vocabulary)
    a = _with_columns(file)
    _check_types(file.path, a, {**_TYPES, "forward_terms": term_type(vocabulary)})
    _check_lengths(file.path, a, int(file.facts["documents"]))
    keys = Keys(a["key_blob"], a["key_offsets"])
    return Segment(
        keys,
        Details(a["numbers"], a["born"], a["text_bytes"], a["payload_bytes"]),
        Forward(a["indptr"], a["forward_terms"], a["weights"]),
        Postings(
            a["window_terms"],
            a["terms"],
            a["ranges"],
            a["local_ids"],
            a["impacts"],
            a["scales"],
            a["blocks"],
            a["block_maxima"],
            a["columns"],
            a["dense"],
        ),
        Deaths.none(len(keys)),
        file=path.name,
    )


def write_column(path: Path, column: Column, collection: str, segment: str) -> int:
    """Writes and syncs the column of a segment's field; its folder is left to the caller."""
    facts = {
        "collection": collection,
        "segment": segment,
        "kind": column.kind.value,
        "rows": column.rows,
    }
    return container.write(path, _COLUMN, facts, column.arrays(), structural=column.arrays())


def open_column(path: Path, collection: str, segment: str, rows: int) -> Column:
    """Raises CorruptIndex: the file is missing, truncated, damaged or foreign."""
    file = container.open_file(path, _COLUMN)
    facts = file.facts
    if (facts.get("collection"), facts.get("segment"), facts.get("rows")) != (
        collection,
        segment,
        rows,
    ):
        raise Damaged(path, f"does not belong to the segment {segment}")
    try:
        return Column.from_arrays(FieldKind(facts["kind"]), rows, file.arrays)
    except (ValueError, KeyError) as error:
        raise Damaged(path, f"holds no payload column: {error}") from error


def damage(path: Path) -> str:
    """What is wrong with a file of the index that the manifest names, or ""; reads all of it.

    Raises:
        CorruptIndex: it cannot even be opened.
    """
    kind = _COLUMN if path.suffix == ".column" else _SEGMENT
    return container.open_file(path, kind).damage()


def _check_facts(file: Container, collection: str, vocabulary: int) -> None:
    facts = file.facts
    if facts.get("collection") != collection:
        raise Damaged(file.path, "belongs to another collection")
    if facts.get("vocabulary") != vocabulary:
        raise Damaged(file.path, f"is for a vocabulary of {facts.get('vocabulary')} terms")
    if facts.get("postings") not in (_POSTINGS, _WITHOUT_COLUMNS):
        raise Damaged(file.path, f"has postings of the unknown kind {facts.get('postings')!r}")


def _with_columns(file: Container) -> Arrays:
    """The arrays of a file; one that was written before there were columns has none."""
    if file.facts.get("postings") != _WITHOUT_COLUMNS:
        return file.arrays
    entries = len(file.arrays.get("terms", ()))
    return {**file.arrays, "columns": np.full(entries, -1), "dense": np.empty(0, np.uint8)}


def _check_types(path: Path, arrays: Arrays, types: dict[str, Any]) -> None:
    for name, dtype in types.items():
        array = arrays.get(name)
        if array is None or array.dtype != dtype:
            raise Damaged(path, f"lacks the section {name!r}")


def _check_lengths(path: Path, a: Arrays, rows: int) -> None:
    """That every section has the length that the others ask for, and every run lies inside what it
    points into: with that, no kernel leaves its arrays."""
    entries = len(a["terms"])
    expected = {
        "key_offsets": rows + 1,
        "numbers": rows,
        "born": rows,
        "text_bytes": rows,
        "payload_bytes": rows,
        "indptr": rows + 1,
        "forward_terms": len(a["weights"]),
        "window_terms": -(-rows // WINDOW) + 1,
        "ranges": entries + 1,
        "scales": entries,
        "blocks": entries,
        "columns": entries,
        "impacts": len(a["local_ids"]),
    }
    for name, length in expected.items():
        if len(a[name]) != length:
            raise Damaged(path, f"has {len(a[name])} instead of {length} in {name!r}")
    for runs, target in (
        ("key_offsets", "key_blob"),
        ("indptr", "weights"),
        ("ranges", "impacts"),
        ("window_terms", "terms"),
    ):
        if not _divides(a[runs], len(a[target])):
            raise Damaged(path, f"has runs in {runs!r} that lie outside of {target!r}")
    if len(a["block_maxima"]) != BLOCKS * int((a["blocks"] >= 0).sum()) or (
        entries and int(a["blocks"].max()) * BLOCKS >= max(len(a["block_maxima"]), 1)
    ):
        raise Damaged(path, "has block maxima that do not fit")
    for window, (first, last) in enumerate(pairwise(a["window_terms"].tolist())):
        length = -(-min(rows - window * WINDOW, WINDOW) // BLOCK) * BLOCK
        farthest = int(a["columns"][first:last].max(initial=-1))
        if farthest >= 0 and farthest + length > len(a["dense"]):
            raise Damaged(path, "has columns that lie outside of 'dense'")


def _divides(runs: Any, length: int) -> bool:
    return bool(runs[0] == 0 and runs[-1] == length and (np.diff(runs) >= 0).all())
