"""Graphs in this process: what can go wrong around them."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.graphs import relabel

from sparsegate_server import settings
from sparsegate_server.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InferenceUnavailable,
    ModelNotFound,
    ModelSourceError,
)
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.factory import build_backend
from sparsegate_server.inference.onnx import OnnxBackend
from sparsegate_server.models.repository import load_specs
from sparsegate_server.models.spec import ModelSpec


def batch(rows: int = 1, length: int = 16, token: int = 2000) -> TokenBatch:
    return TokenBatch(np.full((rows, length), token, np.int32), np.ones((rows, length), np.int32))


@pytest.fixture(scope="module")
def spec(model_repository: Path) -> ModelSpec:
    return ModelSpec.load(model_repository / "splade-tiny")


async def test_a_model_that_is_not_loaded(model_repository: Path, spec: ModelSpec) -> None:
    backend = OnnxBackend(model_repository, [spec])
    other = replace(spec, name="other")
    assert await backend.ready(spec)
    assert not await backend.ready(other)
    with pytest.raises(ModelNotFound):
        await backend.infer(other, batch())
    await backend.close()
    assert not await backend.ready(spec)
    with pytest.raises(InferenceUnavailable):
        await backend.infer(spec, batch())


async def test_a_deadline_ends_the_wait(model_repository: Path, spec: ModelSpec) -> None:
    backend = OnnxBackend(model_repository, [spec], workers=1)
    with pytest.raises(DeadlineExceeded):
        await backend.infer(spec, batch(16, 128), timeout=0.01)
    await backend.close()


async def test_the_runtimes_words_reach_the_caller(model_repository: Path, spec: ModelSpec) -> None:
    backend = OnnxBackend(model_repository, [spec])
    with pytest.raises(InferenceFailed, match="out of"):
        await backend.infer(spec, batch(token=30522))
    await backend.close()


async def test_batches_run_side_by_side_and_do_not_mix(
    model_repository: Path, spec: ModelSpec
) -> None:
    backend = OnnxBackend(model_repository, [spec], workers=4)
    tokens = range(2000, 2008)
    alone = [await backend.infer(spec, batch(token=token)) for token in tokens]
    together = await asyncio.gather(*(backend.infer(spec, batch(token=token)) for token in tokens))
    for one, other in zip(alone, together, strict=True):
        assert (one["indices"] == other["indices"]).all()
        assert (one["values"] == other["values"]).all()
    await backend.close()


@pytest.mark.parametrize(
    ("content", "words"), [(None, "does not exist"), (b"x", "cannot be loaded")]
)
def test_a_bad_graph(tmp_path: Path, spec: ModelSpec, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / spec.name / "1").mkdir(parents=True)
        (tmp_path / spec.name / "1" / "model.onnx").write_bytes(content)
    with pytest.raises(ModelSourceError, match=words):
        OnnxBackend(tmp_path, [spec])


@pytest.mark.parametrize("name", ["onnx", "triton", "dummy"])
async def test_the_settings_choose_the_backend(model_repository: Path, name: str) -> None:
    chosen = settings.load(models={"repository": model_repository}, inference={"backend": name})
    backend = build_backend(chosen, load_specs(model_repository, []))
    assert backend.name == name
    await backend.close()


async def test_a_model_is_loaded_and_unloaded(model_repository: Path, spec: ModelSpec) -> None:
    backend = OnnxBackend(model_repository, [])
    assert not await backend.ready(spec)
    await backend.load(spec)
    assert await backend.ready(spec)
    assert await backend.infer(spec, batch())
    await backend.unload(spec)
    await backend.unload(spec)
    with pytest.raises(ModelNotFound):
        await backend.infer(spec, batch())
    await backend.close()
    with pytest.raises(InferenceUnavailable):
        await backend.load(spec)


async def test_a_successor_keeps_what_it_shares(
    model_repository: Path, spec: ModelSpec, tmp_path: Path
) -> None:
    shutil.copytree(model_repository / spec.name, tmp_path / spec.name)
    backend = OnnxBackend(tmp_path, [spec])
    first = await backend.infer(spec, batch())
    again = replace(spec, description="the same in other words")
    other = replace(spec, identity=replace(spec.identity, max_terms=8))
    await backend.load(again)
    await backend.unload(spec, successor=again)
    assert np.array_equal((await backend.infer(again, batch()))["values"], first["values"])
    relabel(tmp_path / spec.name / "1/model.onnx", other.fingerprint)
    await backend.load(other)
    assert await backend.ready(again)
    await backend.unload(again, successor=other)
    assert not await backend.ready(again)
    assert await backend.ready(other)
    await backend.close()


@pytest.mark.parametrize("whose", ["", "0123456789abcdef"])
async def test_the_graph_of_another_model_is_refused(
    model_repository: Path, spec: ModelSpec, tmp_path: Path, whose: str
) -> None:
    shutil.copytree(model_repository / spec.name, tmp_path / spec.name)
    relabel(tmp_path / spec.name / "1/model.onnx", whose)
    with pytest.raises(ModelSourceError, match=f"{whose or 'none'}, not {spec.fingerprint}"):
        OnnxBackend(tmp_path, [spec])


async def test_a_graph_that_cannot_be_loaded_changes_nothing(
    model_repository: Path, spec: ModelSpec
) -> None:
    backend = OnnxBackend(model_repository, [spec])
    with pytest.raises(ModelSourceError):
        await backend.load(replace(spec, name="nothing"))
    assert await backend.infer(spec, batch())
    await backend.close()
