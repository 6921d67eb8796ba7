"""Files of the index: what was written is read, and whatever was changed since is refused."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparsegate_server.errors import CorruptIndex, SparsegateError
from sparsegate_server.filters import FieldKind
from sparsegate_server.index.files import container
from sparsegate_server.index.files.manifest import (
    NAME,
    Manifest,
    SegmentFile,
    read_manifest,
    write_manifest,
)
from sparsegate_server.index.filter.column import Column
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.leaders import NO_BAR, Leaders
from sparsegate_server.index.part import Query
from sparsegate_server.index.scratch import scratch_for
from sparsegate_server.index.segment import Details, Segment
from sparsegate_server.index.segment_file import (
    damage,
    open_column,
    open_segment,
    write_column,
    write_segment,
)

from .opening import scratch
from .oracle import Vector, sparse
from .strategies import VOCABULARY

TYPES = ["uint8", "uint16", "int16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
arrays = st.dictionaries(
    st.text(max_size=5),
    st.builds(np.zeros, st.integers(0, 200), st.sampled_from(TYPES))
    | st.binary(max_size=200).map(lambda raw: np.frombuffer(raw, np.uint8)),
    max_size=6,
)


@given(arrays, st.data())
def test_a_container_gives_back_what_it_was_given(
    given_arrays: dict[str, NDArray[Any]], data: st.DataObject
) -> None:
    names = sorted(given_arrays)
    structural = data.draw(st.sets(st.sampled_from(names)) if names else st.just(set[str]()))
    facts = {"text": "é", "number": 5, "list": [None, True]}
    with scratch() as folder:
        size = container.write(folder / "f", "test", facts, given_arrays, structural=structural)
        assert (folder / "f").stat().st_size == size
        opened = container.open_file(folder / "f", "test")
        assert (opened.facts, opened.size, opened.damage()) == (facts, size, "")
        assert opened.arrays.keys() == given_arrays.keys()
        for name, array in opened.arrays.items():
            assert array.dtype == given_arrays[name].dtype
            assert array.tobytes() == given_arrays[name].tobytes()
            assert not array.flags.writeable
            assert not len(array) or array.ctypes.data % 64 == 0


def test_blocks_of_a_large_file_are_checked_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "f"
    array = np.arange(60_000, dtype=np.uint32)
    container.write(path, "test", {}, {"a": array})
    assert container.open_file(path, "test").damage() == ""
    start = path.stat().st_size - 4 * 4 - 240_000
    for block in range(4):
        flip(path, start + 65_536 * block + 99, 0)
        found = container.open_file(path, "test").damage()
        assert (
            f"between the bytes {path.stat().st_size - 16 - 240_000 + 65_536 * block} and" in found
        )
        flip(path, start + 65_536 * block + 99, 0)


# What is refused, and how.

DOCUMENTS: list[Vector] = [
    {row % VOCABULARY: 1.0 + row, (row * 5 + 1) % VOCABULARY: 0.5} for row in range(40)
]


def segment() -> Segment:
    rows = len(DOCUMENTS)
    keys = Keys.of([b"\0" + row.to_bytes(8, "big") for row in range(rows)])
    sizes = np.full(rows, 3, np.uint32)
    details = Details(np.arange(1, rows + 1), np.ones(rows, np.uint64), sizes, sizes)
    forward = Forward.of(list(map(sparse, DOCUMENTS))).stored(VOCABULARY)
    return Segment.build(keys, details, forward, VOCABULARY)


def column(kind: FieldKind = FieldKind.KEYWORD) -> Column:
    return Column.build(kind, ([f"v{row % 3}", None] for row in range(len(DOCUMENTS))))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "00000001.segment"
    write_segment(path, segment(), "mine", VOCABULARY)
    return path


def flip(path: Path, place: int, bit: int) -> None:
    number = os.open(path, os.O_RDWR)
    try:
        (byte,) = os.pread(number, 1, place)
        os.pwrite(number, bytes([byte ^ 1 << bit]), place)
    finally:
        os.close(number)


def refused(path: Path, what: str = ".", collection: str = "mine") -> None:
    """Opening a segment fails, names the file, and says what to do."""
    with pytest.raises(CorruptIndex, match=what) as caught:
        open_segment(path, collection, VOCABULARY)
    assert str(path) in caught.value.message
    assert "sparsegate-server index rebuild" in caught.value.message
    assert caught.value.metadata == {"file": str(path)}


def test_a_segment_comes_back_from_its_file(written: Path) -> None:
    back, before = open_segment(written, "mine", VOCABULARY), segment()
    assert back.file == written.name
    assert damage(written) == ""
    for room in ("keys", "details", "forward", "postings"):
        mine, theirs = getattr(back, room), getattr(before, room)
        for name in type(mine).__slots__:
            assert getattr(mine, name).tobytes() == getattr(theirs, name).tobytes(), name
            assert getattr(mine, name).dtype == getattr(theirs, name).dtype, name


def test_an_empty_segment_has_a_file_too(tmp_path: Path) -> None:
    nothing = np.empty(0, np.uint32)
    details = Details(np.empty(0, np.int64), np.empty(0, np.uint64), nothing, nothing)
    empty = Segment.build(Keys.of([]), details, Forward.of([]).stored(70_000), 70_000)
    write_segment(tmp_path / "s", empty, "mine", 70_000)
    assert open_segment(tmp_path / "s", "mine", 70_000).rows == 0


@pytest.mark.parametrize("kind", list(FieldKind))
def test_a_column_comes_back_from_its_file(kind: FieldKind, tmp_path: Path) -> None:
    path = tmp_path / "00000002.column"
    before = column(kind)
    write_column(path, before, "mine", "00000001.segment")
    back = open_column(path, "mine", "00000001.segment", before.rows)
    assert (back.kind, back.rows, damage(path)) == (kind, before.rows, "")
    for name, array in before.arrays().items():
        assert back.arrays()[name].tobytes() == array.tobytes()


def test_a_column_of_another_segment_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "00000002.column"
    write_column(path, column(), "mine", "00000001.segment")
    for mine, name, rows in (
        ("other", "00000001.segment", 40),
        ("mine", "00000003.segment", 40),
        ("mine", "00000001.segment", 41),
    ):
        with pytest.raises(CorruptIndex, match="does not belong") as caught:
            open_column(path, mine, name, rows)
        assert "index rebuild" in caught.value.message
    refused(path, "is of the kind 'column'")


def test_a_file_that_is_missing_empty_or_foreign_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    refused(path, "is missing")
    path.touch()
    refused(path, "cut short")
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    refused(path, "not a file of the index")


def test_a_segment_of_something_else_is_refused(written: Path) -> None:
    refused(written, "another collection", "other")
    with pytest.raises(CorruptIndex, match="vocabulary of 12"):
        open_segment(written, "mine", 13)
    os.pwrite(number := os.open(written, os.O_RDWR), (2).to_bytes(4, "little"), 8)
    os.close(number)
    refused(written, "layout 2")


def test_postings_of_an_unknown_kind_are_refused(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsegate_server.index.segment_file._POSTINGS", "vectors")
    refused(written, "unknown kind 'impact8-columns'")


def test_every_truncation_is_refused(written: Path) -> None:
    whole = written.read_bytes()
    for length in [*range(0, 200), *range(200, len(whole), 97), len(whole) - 1]:
        written.write_bytes(whole[:length])
        refused(written)
    written.write_bytes(whole + b"\0")
    refused(written, "bytes instead of")


def test_every_flipped_bit_of_header_and_structure_is_refused(written: Path) -> None:
    # All of so small a file is one block, and that is checked when it is opened.
    for place in range(written.stat().st_size):
        for bit in range(8) if place < 64 else (place % 8,):
            flip(written, place, bit)
            refused(written)
            flip(written, place, bit)
    open_segment(written, "mine", VOCABULARY)


def test_no_flipped_bit_is_overlooked_and_none_leads_a_kernel_astray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blocks so small that the data are not checked along with the structure."""
    monkeypatch.setattr(container, "_BLOCK", 64)
    path = tmp_path / "s.segment"
    write_segment(path, segment(), "mine", VOCABULARY)
    opened_all_the_same = 0
    for place in range(path.stat().st_size):
        bit = place * 5 % 8
        flip(path, place, bit)
        try:
            damaged = open_segment(path, "mine", VOCABULARY)
        except CorruptIndex:
            refused(path)
        else:
            exercise(damaged)
            assert damage(path) != ""
            opened_all_the_same += 1
        flip(path, place, bit)
    assert opened_all_the_same > path.stat().st_size / 4


def exercise(damaged: Segment) -> None:
    """All that a search does with a segment; whatever it finds, it stays inside of its arrays and
    leaves nothing behind for the next search."""
    terms = np.arange(VOCABULARY, dtype=np.uint32)
    weights = np.ones(VOCABULARY, np.float32)
    every = np.arange(damaged.rows, dtype=np.uint32)
    for effort in (1.0, 0.5):
        for limit in (5, 500):
            query = Query(terms, weights, VOCABULARY, limit, np.uint64(1), effort=effort)
            damaged.search(query, Leaders(limit), None)
            damaged.search(query, Leaders(limit, np.float32(1)), None)
            damaged.search(query, Leaders(limit), Mask.of(every[::2].tolist(), damaged.rows))
    damaged.above(query, NO_BAR, every)
    assert not any(array.any() for array in scratch_for(VOCABULARY))
    damaged.deaths.dead[3] = 1
    assert damaged.frequencies(terms, 1).shape == (VOCABULARY,)
    damaged.locate(Keys.of([b"\0" + bytes(7) + b"\7", b"\1"]), 1)
    damaged.after(b"\0" + bytes(8), 50, 1)
    damaged.sizes(np.arange(damaged.rows))
    damaged.sizes(np.arange(damaged.rows), range(2, VOCABULARY))
    damaged.vector(7)
    damaged.visible(1)


def test_a_write_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space"):
        container.write(tmp_path / "f", "test", {}, {"a": np.zeros(5)})
    assert list(tmp_path.iterdir()) == []


# The manifest.

MANIFEST = Manifest(
    "mine",
    7,
    99,
    123,
    (SegmentFile(0, "00000001.segment", {"a.b": "00000002.column"}), SegmentFile(1, "3.segment")),
)


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    write_manifest(tmp_path, Manifest("mine"))
    assert read_manifest(tmp_path) == Manifest("mine")
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    assert MANIFEST.files == {"00000001.segment", "00000002.column", "3.segment"}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with pytest.raises(CorruptIndex, match=r"MANIFEST is missing.*index rebuild"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, MANIFEST)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptIndex):
            read_manifest(tmp_path)
    path.write_bytes(whole)
    for place in range(len(whole)):
        flip(path, place, place % 8)
        with pytest.raises(CorruptIndex) as caught:
            read_manifest(tmp_path)
        assert str(path) in caught.value.message
        flip(path, place, place % 8)
    assert read_manifest(tmp_path) == MANIFEST


def test_a_manifest_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    facts = json.loads((tmp_path / NAME).read_bytes().split(b"\n")[0])
    body = json.dumps({**facts, "format": 2, "more": "of the future"})
    (tmp_path / NAME).write_text(f"{body}\n{zlib.crc32(body.encode()):08x}\n")
    with pytest.raises(CorruptIndex, match="does not know"):
        read_manifest(tmp_path)


def test_a_manifest_whose_replacement_fails_still_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path, MANIFEST)

    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises((OSError, SparsegateError)):
        write_manifest(tmp_path, Manifest("mine", 8))
    assert read_manifest(tmp_path) == MANIFEST
