"""`sparsegate-server index`, on the folder of a gateway that is stopped."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sparsegate_server.cli.main import app
from sparsegate_server.errors import CollectionNotFound, DataFolderLocked, SparsegateError
from sparsegate_server.index import Collection, Parameters, recovery
from sparsegate_server.index.data_folder import DataFolder
from sparsegate_server.operations import Document, SearchOptions
from sparsegate_server.types import SparseVector

VECTOR = SparseVector(np.array([1, 3], np.uint32), np.array([0.5, 2.0], np.float32))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with the collections `books` and `films`, ten documents each."""
    with closing(DataFolder(tmp_path / "data")) as folder:
        for name in ("books", "films"):
            made = folder.prepare(lambda path: recovery.create(path, Parameters(8), {}))
            with closing(Collection(folder.install(made, name))) as collection:
                collection.upsert([Document(number, VECTOR) for number in range(10)])
    return tmp_path / "data"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["index", *map(str, arguments)], env={"COLUMNS": "300"})


def segment(data: Path, name: str) -> Path:
    (path,) = (data / "collections" / name / "index").glob("*.segment")
    return path


def test_sound_files_are_called_so(data: Path) -> None:
    done = run("verify", "--data", data)
    assert done.exit_code == 0
    assert done.output.count("store.db") == done.output.count("MANIFEST") == 2
    assert "index against store" in done.output


def test_damage_is_named_and_a_rebuild_mends_it(data: Path) -> None:
    path = segment(data, "films")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    found = run("verify", "--data", data)
    assert found.exit_code == 1
    assert path.name in found.output
    assert "index rebuild" in found.output
    assert run("verify", "books", "--data", data).exit_code == 0
    mended = run("rebuild", "films", "--data", data)
    assert mended.exit_code == 0
    assert "films: 10 documents" in mended.output
    assert run("verify", "--data", data).exit_code == 0
    with closing(Collection(data / "collections" / "films")) as collection:
        assert len(collection.search(VECTOR, SearchOptions(20)).hits) == 10


def test_without_a_manifest_nothing_is_read_as_empty(data: Path) -> None:
    (data / "collections" / "films" / "index" / "MANIFEST").unlink()
    assert run("verify", "films", "--data", data).exit_code == 1
    assert run("rebuild", "--data", data).exit_code == 0
    assert run("verify", "--data", data).exit_code == 0


@pytest.mark.parametrize("command", ["verify", "rebuild"])
def test_a_folder_in_use_and_a_name_unknown_are_refused(data: Path, command: str) -> None:
    def error(*arguments: str | Path) -> SparsegateError:
        raised = run(command, *arguments).exception
        assert isinstance(raised, SparsegateError)
        return raised

    missing = data.with_name("nowhere")
    assert str(missing) in error("--data", missing).message
    assert not missing.exists()
    unknown = error("nothing", "--data", data)
    assert isinstance(unknown, CollectionNotFound)
    assert "books, films" in unknown.message
    with closing(DataFolder(data)):
        assert isinstance(error("--data", data), DataFolderLocked)
