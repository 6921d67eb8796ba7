"""What an older version has written is still read, whole and right.

`tests/fixtures/make.py` says what is in the fixtures and how they were made.
"""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sparsegate_server.index import Collection, archive, recovery
from sparsegate_server.index.files.manifest import read_manifest

from ...fixtures import make
from .opening import sound

FORMATS = sorted(make.FORMAT.parent.glob("format-*"))


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def fixture(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def expected(fixture: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((fixture / "expected.json").read_text())
    return facts


@pytest.fixture
def folder(fixture: Path, tmp_path: Path) -> Path:
    return shutil.copytree(fixture / "collection", tmp_path / "collection")


def test_there_is_a_fixture_of_every_format() -> None:
    assert [path.name for path in FORMATS] == ["format-1"]


def test_the_fixture_has_all_that_the_format_has(fixture: Path) -> None:
    """Otherwise it would prove less than it seems to."""
    manifest = read_manifest(fixture / "collection" / recovery.INDEX)
    assert {each.shard for each in manifest.segments} == {0, 1}
    assert len(manifest.segments) >= 4
    assert all(each.columns.keys() == make.FIELDS.keys() for each in manifest.segments)
    size = sum(path.stat().st_size for path in fixture.rglob("*") if path.is_file())
    assert size < 200_000


def test_a_collection_of_an_older_version_is_read(folder: Path, expected: dict[str, Any]) -> None:
    assert sound(folder) == []
    with closing(Collection(folder)) as collection:
        assert make.found(collection) == expected
        assert all(ready for _, ready in collection.indexes().values())
        size = collection.size()
        assert size.tail
        assert size.tombstones
        again = collection.upsert(
            [make.document(number) for number in range(120, 135)], request_id="last"
        )
        assert again.repeated
        collection.optimize()
        assert make.found(collection) == expected
    assert sound(folder) == []


def test_its_index_is_made_anew(folder: Path, expected: dict[str, Any]) -> None:
    assert recovery.rebuild(folder) == len(expected["documents"])
    with closing(Collection(folder)) as collection:
        while collection.build_indexes():
            pass
        assert make.found(collection) == expected


def test_an_archive_of_an_older_version_is_restored(
    fixture: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    folder = tmp_path / "restored"
    assert archive.read_facts(fixture / "archive").config == make.CONFIG
    archive.restore(fixture / "archive", folder, {}, most_bytes=2**20)
    with closing(Collection(folder)) as collection:
        assert make.found(collection) == expected


def test_the_script_still_makes_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, Any]
) -> None:
    monkeypatch.setattr(make, "FORMAT", tmp_path / "format")
    make.make()
    assert json.loads((tmp_path / "format" / "expected.json").read_text()) == expected
