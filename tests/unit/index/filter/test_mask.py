from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyroaring import BitMap

from sparsegate_server.index import kernels
from sparsegate_server.index.filter.bitmaps import Bitmaps
from sparsegate_server.index.filter.mask import Mask, blank
from sparsegate_server.index.filter.program import (
    NONE,
    adding_bitmap,
    in_at_least,
    of_mask,
    run,
)
from sparsegate_server.index.kernels.arrays import address_of

kernels.warm_up()

# Around the borders of words, and of the containers of 65,536 of a Roaring bitmap.
SIZES = [0, 1, 63, 64, 65, 200, 65_536, 65_537, 131_072, 140_001]
sizes = st.sampled_from(SIZES)


@st.composite
def sets(draw: st.DrawFn, size: int) -> set[int]:
    """Few, many, or runs of rows below `size`, and whole stretches between others."""
    if not size:
        return set()
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    share = draw(st.sampled_from([0.0, 0.001, 0.04, 0.3, 0.99, 1.0]))
    chosen = set(np.flatnonzero(random.random(size) < share).tolist())
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, size - 1))
        stop = min(size, start + draw(st.sampled_from([1, 60, 64, 65, 5_000, 70_000])))
        if draw(st.booleans()):
            chosen.update(range(start, stop))
        else:
            chosen.difference_update(range(start, stop))
    return chosen


def sound(mask: Mask) -> bool:
    """Whether the mask keeps what its attributes promise."""
    bits = np.unpackbits(mask.words.view(np.uint8), bitorder="little")
    return (
        mask.words.dtype == np.uint64
        and mask.words.flags.c_contiguous
        and len(bits) == (mask.size + 63) // 64 * 64
        and not bits[mask.size :].any()
        and mask.count == len(mask) == int(bits.sum())
        and mask.rows().dtype == np.uint32
        and mask.rows().tolist() == np.flatnonzero(bits).tolist()
    )


@settings(deadline=None)
@given(st.data(), sizes)
def test_a_mask_is_a_set(data: st.DataObject, size: int) -> None:
    left, right = data.draw(sets(size)), data.draw(sets(size))
    mine, theirs = Mask.of(left, size), Mask.of(np.array(sorted(right), np.int64), size)
    every = set(range(size))
    for mask, rows in [
        (mine, left),
        (mine & theirs, left & right),
        (mine | theirs, left | right),
        (mine - theirs, left - right),
        (~mine, every - left),
        (Mask.none(size), set()),
        (Mask.every(size), every),
        (Mask.of_bitmap(mine.bitmap(), size), left),
    ]:
        assert sound(mask)
        assert set(mask) == rows
        assert set(mask.bitmap()) == rows
        assert bool(mask) == bool(rows)


@settings(deadline=None)
@given(st.data(), st.sampled_from(SIZES[:6]), st.integers(0, 9), st.integers(1, 11))
def test_in_at_least_so_many(data: st.DataObject, size: int, masks: int, count: int) -> None:
    chosen = [data.draw(sets(size)) for _ in range(masks)]
    made = [Mask.of(each, size) for each in chosen]
    found = run(b"".join(in_at_least(count, map(of_mask, made))), size)
    assert sound(found)
    assert set(found) == {
        row for row in range(size) if sum(row in each for each in chosen) >= count
    }


def test_rows_come_in_any_order_and_repeat() -> None:
    assert list(Mask.of([5, 3, 5, 64], 70)) == [3, 5, 64]


@pytest.mark.parametrize("row", [70, 127, 128, 2**32 - 1])
def test_a_row_beyond_the_rows_is_refused(row: int) -> None:
    with pytest.raises(ValueError, match="beyond its 70 rows"):
        Mask.of([3, row], 70)


def decoded(bitmap: NDArray[np.uint8], size: int) -> tuple[int, set[int]]:
    """What the kernel finds in the bytes of a bitmap, which lie at an odd address, among others.

    Fails if it writes anywhere else than into its mask.
    """
    blob = np.concatenate([np.full(3, 255, np.uint8), bitmap, np.full(9_000, 255, np.uint8)])
    wide = len(blank(size))
    guarded = np.full(3 * wide + 2_048, 0xA5A5, np.uint64)
    # With room for the mask alone, and for what a kernel may ask for besides and not use.
    stack = guarded[1_024 : 1_024 + 3 * wide]
    words = np.full(wide, 0xA5A5, np.uint64)
    program = NONE + adding_bitmap(address_of(blob) + 3, len(bitmap))
    count = kernels.run_program(np.frombuffer(program, np.int64), size, stack, words)
    if count == kernels.DAMAGED:
        words = stack[:wide]
    assert (guarded[:1_024] == 0xA5A5).all()
    assert (guarded[1_024 + wide :] == 0xA5A5).all()
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")
    return count, set(np.flatnonzero(bits).tolist())


@settings(deadline=None)
@given(st.data(), sizes, st.booleans())
def test_bitmaps_are_read_as_roaring_reads_them(data: st.DataObject, size: int, runs: bool) -> None:
    rows = data.draw(sets(size))
    bitmap = BitMap(rows)
    if runs:
        bitmap.run_optimize()
    stored = np.frombuffer(bitmap.serialize(), np.uint8)
    assert decoded(stored, size) == (len(rows), rows)
    # The same where the rows end just before the last of the bitmap's.
    if rows:
        assert decoded(stored, max(rows))[0] == -1


@settings(deadline=None, max_examples=300)
@given(st.data(), st.sampled_from([1, 65, 65_537, 140_001]), st.booleans())
def test_damaged_bitmaps_do_no_harm(data: st.DataObject, size: int, runs: bool) -> None:
    bitmap = BitMap(data.draw(sets(size)))
    if runs:
        bitmap.run_optimize()
    stored = np.frombuffer(bitmap.serialize(), np.uint8).copy()
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, min(40, len(stored) - 1)) | st.integers(0, len(stored) - 1))
        stored[at] = data.draw(st.integers(0, 255))
    kept = data.draw(st.just(len(stored)) | st.integers(0, len(stored)))
    count, rows = decoded(stored[:kept], size)
    if count >= 0:
        assert count == len(rows)
        assert not rows or max(rows) < size


def test_bytes_that_end_too_early_are_no_bitmap() -> None:
    every_kind = BitMap([*range(0, 9_000, 2), *range(65_536, 70_000), 140_000])
    every_kind.run_optimize()
    assert every_kind.get_statistics()["n_run_containers"] == 1
    assert every_kind.get_statistics()["n_bitset_containers"] == 1
    assert every_kind.get_statistics()["n_array_containers"] == 1
    (stored,) = (Bitmaps.of([every_kind]).blob,)
    for kept in (*range(60), len(stored) - 1):
        assert decoded(stored[:kept], 140_001)[0] == -1
    assert decoded(stored, 140_001)[0] == len(every_kind)
