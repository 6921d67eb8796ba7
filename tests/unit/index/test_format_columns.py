"""A collection with dense columns, as an older version has written it, is read whole and right.

`tests/fixtures/make_columns.py` says what is in the fixture and how it was made.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from sparsegate_server.filters import Filter, HasId
from sparsegate_server.index import Collection, recovery
from sparsegate_server.index.files import container
from sparsegate_server.index.files.manifest import read_manifest
from sparsegate_server.operations import SearchOptions

from ...fixtures import make_columns as make
from . import oracle
from .opening import hits, sound

COLLECTION = make.FOLDER / "collection"
MOST_BYTES = 300_000
EVERY = 10_000

QUERIES: list[oracle.Vector] = [
    {make.ALL: 1.0},
    {make.THIRD: 2.5},
    {make.ENOUGH: 0.75, make.TOO_FEW: 1.5},
    {make.ALL: 0.125, make.THIRD: 1.0, make.ENOUGH: 0.5, make.TOO_FEW: 3.0, 10: 2.0, 33: 2.0},
    {make.ALL: 2.0**-100, make.THIRD: 2.0**19},
    {11: 1.0, 12: 1.0, 13: 1.0},
]
FILTERS = {"all": None, "few": Filter(must=(HasId(tuple(range(0, 1600, 9))),))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(COLLECTION, tmp_path / "collection")


def heavy(file: Path) -> dict[int, bool]:
    """For each term of a segment's file, whether it is a column."""
    opened = container.open_file(file, "segment")
    assert opened.facts["postings"] == "impact8-columns"
    columns = np.asarray(opened.arrays["columns"]) >= 0
    return dict(zip(np.asarray(opened.arrays["terms"]).tolist(), columns.tolist(), strict=True))


def assert_right(collection: Collection) -> None:
    """All that is found has the oracle's bits."""
    model = {number: oracle.Stored(vector) for number, vector in make.model().items()}
    found = collection.scroll(None, EVERY, None).documents
    assert {each.id: oracle.content(each).vector for each in found} == make.model()
    for query in QUERIES:
        for filter in FILTERS.values():
            for limit in (3, 100, EVERY):
                options = SearchOptions(limit, filter=filter)
                assert hits(collection, query, options) == oracle.page(model, query, options)


def test_the_fixture_has_columns_and_lists() -> None:
    """Otherwise it would prove less than it seems to."""
    index = COLLECTION / recovery.INDEX
    files = sorted(index.glob("*.segment"))
    assert {file.name for file in files} == read_manifest(index).files
    first, second = map(heavy, files)
    assert [term for term, column in first.items() if column] == [
        make.ALL,
        make.THIRD,
        make.ENOUGH,
    ]
    assert [term for term, column in second.items() if column] == [make.ALL]
    assert first[make.TOO_FEW] is False
    size = sum(path.stat().st_size for path in make.FOLDER.rglob("*") if path.is_file())
    assert size < MOST_BYTES


def test_it_is_read(folder: Path) -> None:
    assert sound(folder) == []
    with closing(Collection(folder)) as collection:
        assert_right(collection)
        assert collection.size().tail
        assert collection.size().tombstones
        collection.optimize()
        assert_right(collection)
    assert sound(folder) == []


def test_its_index_is_made_anew(folder: Path) -> None:
    assert recovery.rebuild(folder) == len(make.model())
    with closing(Collection(folder)) as collection:
        assert_right(collection)


def test_a_flipped_bit_in_a_column_is_seen(folder: Path) -> None:
    (file, _) = sorted((folder / recovery.INDEX).glob("*.segment"))
    dense = np.asarray(container.open_file(file, "segment").arrays["dense"]).tobytes()
    whole = file.read_bytes()
    place = whole.index(dense)
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert [name for name, _ in sound(folder)] == [file.name]


def test_the_script_still_makes_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "FOLDER", tmp_path / "columns")
    make.make()
    with closing(Collection(tmp_path / "columns" / "collection")) as collection:
        assert_right(collection)
