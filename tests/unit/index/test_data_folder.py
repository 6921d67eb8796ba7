"""One process serves a data folder; collections and aliases change in one step each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sparsegate_server.errors import CorruptStore, DataFolderLocked, DataFolderUnusable
from sparsegate_server.index import Parameters, recovery
from sparsegate_server.index.data_folder import DataFolder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with closing(DataFolder(tmp_path / "data")) as folder:
        yield folder


def make(path: Path) -> None:
    recovery.create(path, Parameters(12), {})


OPEN = """
import sys
from pathlib import Path
from sparsegate_server.errors import SparsegateError
from sparsegate_server.index.data_folder import DataFolder
try:
    DataFolder(Path(sys.argv[1]))
except SparsegateError as error:
    print(type(error).__name__, error.message)
else:
    print("opened")
"""


def opened_elsewhere(path: Path) -> str:
    """What another process is told."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(path)], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_second_process_is_refused_and_told_who_has_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with closing(DataFolder(path)):
        refusal = opened_elsewhere(path)
        assert refusal.startswith("DataFolderLocked")
        assert f"pid {os.getpid()}" in refusal
        assert "--data" in refusal
        with pytest.raises(DataFolderLocked):
            DataFolder(path)
    assert opened_elsewhere(path) == "opened"
    # That process is gone, and its lock with it.
    DataFolder(path).close()


def create(folder: DataFolder, name: str) -> Path:
    return folder.install(folder.prepare(make), name)


def test_collections_come_and_go_whole(folder: DataFolder) -> None:
    assert folder.names() == []
    prepared = folder.prepare(make)
    assert folder.names() == []  # not yet
    path = folder.install(prepared, "films")
    assert path == folder.collection("films")
    assert folder.names() == ["films"]
    assert recovery.read_config(path) == {}
    gone = folder.discard("films")
    assert folder.names() == []
    recovery.remove(gone)
    assert list((folder.path / "collections").iterdir()) == []


def test_a_collection_that_fails_to_be_made_leaves_nothing(folder: DataFolder) -> None:
    def fails(path: Path) -> None:
        make(path)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        folder.prepare(fails)
    assert list((folder.path / "collections").iterdir()) == []


def test_a_collection_is_not_put_over_another(folder: DataFolder) -> None:
    create(folder, "films")
    other = folder.prepare(lambda path: recovery.create(path, Parameters(5), {"new": 1}))
    with pytest.raises(DataFolderUnusable):
        folder.install(other, "films")
    assert recovery.read_config(folder.collection("films")) == {}
    assert folder.names() == ["films"]


def test_what_was_half_made_or_half_deleted_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with closing(DataFolder(path)) as folder:
        create(folder, "films")
        make(path / "collections" / ".half")
        (path / "collections" / ".deleted" / "index").mkdir(parents=True)
        archives = folder.make_snapshots("films")
        for name in ("a.snapshot", "b.snapshot.new", "b.snapshot.copy.db"):
            (archives / name).write_bytes(b"x")
    with closing(DataFolder(path)) as folder:
        assert folder.names() == ["films"]
        assert [each.name for each in (path / "collections").iterdir()] == ["films"]
        assert [each.name for each in (path / "snapshots").iterdir()] == ["films"]
        assert [each.name for each in folder.snapshots("films").iterdir()] == ["a.snapshot"]


def test_archives_outlive_their_collection(folder: DataFolder) -> None:
    create(folder, "films")
    (folder.make_snapshots("films") / "a.snapshot").touch()
    folder.discard("films")
    assert (folder.snapshots("films") / "a.snapshot").exists()


def test_aliases_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with closing(DataFolder(path)) as folder:
        assert folder.aliases == {}
        folder.set_aliases({"b": "films", "a": "films"})
        assert folder.aliases == {"a": "films", "b": "films"}
    with closing(DataFolder(path)) as folder:
        assert folder.aliases == {"a": "films", "b": "films"}
        folder.set_aliases({})
    with closing(DataFolder(path)) as folder:
        assert folder.aliases == {}


def test_aliases_change_in_one_step(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.set_aliases({"a": "films"})

    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(Exception, match="no room left"):
            folder.set_aliases({"a": "books"})
    assert folder.aliases == {"a": "films"}
    folder.close()
    with closing(DataFolder(folder.path)) as again:
        assert again.aliases == {"a": "films"}


def test_damaged_aliases_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with closing(DataFolder(path)) as folder:
        folder.set_aliases({"a": "films"})
    whole = (path / "ALIASES").read_bytes()
    body = json.dumps({"a": "films"})
    assert whole == f"{body}\n{zlib.crc32(body.encode()):08x}\n".encode()
    for changed in (b"", whole[:-1], whole.replace(b"films", b"filmy")):
        (path / "ALIASES").write_bytes(changed)
        with pytest.raises(CorruptStore, match="ALIASES is damaged: delete it"):
            DataFolder(path)
    # A folder that was refused is not left locked.
    (path / "ALIASES").unlink()
    DataFolder(path).close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataFolderUnusable, match=str(tmp_path / "file")) as caught:
        DataFolder(tmp_path / "file" / "data")
    assert caught.value.field == "index.folder"
