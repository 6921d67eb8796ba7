"""What an export for PyTorch writes, and what Triton is told of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from safetensors.numpy import load
from tritonclient.grpc import model_config_pb2

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models import torch_weights as writing
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.execution import Execution, Vectors, export_command
from sparsegate_server.models.export import identity_of
from sparsegate_server.models.pull import Pulled
from sparsegate_server.models.recipe import Recipe
from sparsegate_server.models.repository import export as export_model
from sparsegate_server.models.repository import exported, load_specs, missing_files
from sparsegate_server.models.spec import ModelSpec, Precision
from sparsegate_server.models.torch_weights import torch_weights

from . import bert_oracle

TORCH = Execution(backend="torch", device="cpu")
ON_GPU = Execution(backend="torch")
SIBLINGS = ("fused_head", "recorded_graphs")
"""What the executor imports from beside it."""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return bert_oracle.write_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def pulled(checkpoint: Checkpoint, tmp_path: Path) -> Pulled:
    return Pulled("small", tmp_path / "checkpoint", "", "")


def facts_of(content: bytes) -> dict[str, Any]:
    size = int.from_bytes(content[:8], "little")
    facts: dict[str, Any] = json.loads(
        json.loads(content[8 : 8 + size])["__metadata__"][writing.METADATA]
    )
    return facts


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensors_are_the_checkpoints_in_the_models_precision(
    checkpoint: Checkpoint, precision: Precision
) -> None:
    identity = identity_of(checkpoint, Recipe("splade", drop_special=True))
    content = torch_weights(checkpoint, ModelSpec("x", identity, precision=precision))
    tensors = load(content)
    assert tensors.keys() == checkpoint.tensors.keys()
    bias = tensors.pop("cls.predictions.bias")
    assert bias.dtype == np.float32
    assert (bias[:5] == -1e4).all()
    np.testing.assert_array_equal(bias[5:], checkpoint.tensors["cls.predictions.bias"][5:])
    dtype = np.float16 if precision == "fp16" else np.float32
    for name, tensor in tensors.items():
        assert tensor.dtype == dtype
        np.testing.assert_array_equal(tensor, checkpoint.tensors[name].astype(dtype))


def test_the_facts_are_the_models(checkpoint: Checkpoint) -> None:
    identity = identity_of(checkpoint, Recipe("splade", activation="log1p-twice"))
    spec = ModelSpec("x", replace(identity, threshold=0.5, max_terms=7), positions=True)
    assert facts_of(torch_weights(checkpoint, spec)) == {
        "layers": bert_oracle.LAYERS,
        "heads": bert_oracle.HEADS,
        "epsilon": bert_oracle.EPSILON,
        "pooling": "max",
        "logarithms": 2,
        "floor": pytest.approx(np.expm1(np.expm1(0.5))),
        "most_terms": 8,
        "output": "terms",
        "positions": True,
        "outputs": {"indices": "uint16", "values": "float32", "positions": "uint16"},
        "lengths": [8, 16, bert_oracle.POSITIONS],
    }


def test_the_threshold_of_a_sum_is_one_of_scores(checkpoint: Checkpoint) -> None:
    identity = replace(identity_of(checkpoint, Recipe("splade", "sum")), threshold=0.5)
    assert facts_of(torch_weights(checkpoint, ModelSpec("x", identity)))["floor"] == 0.5


def test_an_export_is_complete_and_the_same_every_time(pulled: Pulled, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for repository in (one, two):
        spec = export_model(pulled, repository, execution=TORCH)
    assert (spec.name, spec.backend, spec.device) == ("small-torch", "torch", "cpu")
    assert exported(one) == [spec] == load_specs(one, [spec.name])
    folder = one / spec.name
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == [
        "1/fused_head.py",
        "1/model.onnx",
        "1/model.py",
        "1/model.safetensors",
        "1/recorded_graphs.py",
        "config.pbtxt",
        "sparsegate.json",
        "tokenizer.json",
    ]
    for file in files:
        assert (folder / file).read_bytes() == (two / spec.name / file).read_bytes()
    for copy, source in (("model", "torch_executor"), *[(own, own) for own in SIBLINGS]):
        original = Path(writing.__file__).with_name(f"{source}.py")
        assert (folder / f"1/{copy}.py").read_bytes() == original.read_bytes()
    assert "--backend torch --device cpu" in export_command(spec)


def test_the_graph_of_queries_has_weights_of_its_own(pulled: Pulled, tmp_path: Path) -> None:
    vectors = Vectors(queries=pulled)
    repository = tmp_path / "repository"
    spec = export_model(pulled, repository, name="pair", vectors=vectors, execution=TORCH)
    weights = repository / "pair.query" / "1" / "model.safetensors"
    assert facts_of(weights.read_bytes())["outputs"].keys() == {"indices", "values"}
    weights.unlink()
    assert missing_files(repository / "pair", spec) == [weights]
    assert exported(repository) == []
    with pytest.raises(ModelSourceError, match=r"model\.safetensors is missing: run .*torch"):
        load_specs(repository, ["pair"])


def test_another_backend_leaves_no_weights_behind(pulled: Pulled, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    export_model(pulled, repository, name="x", execution=TORCH)
    files = [f"1/{file}" for file in ("model.safetensors", *(f"{own}.py" for own in SIBLINGS))]
    assert all((repository / "x" / file).is_file() for file in files)
    export_model(pulled, repository, name="x")
    assert not any((repository / "x" / file).exists() for file in files)


def configuration(pulled: Pulled, repository: Path, execution: Execution) -> Any:
    """As Triton reads it; an unknown field or a wrong type is an error."""
    spec = export_model(pulled, repository, execution=execution)
    text = (repository / spec.name / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_triton_on_the_processor(pulled: Pulled, tmp_path: Path) -> None:
    config = configuration(pulled, tmp_path / "repository", TORCH)
    assert config.backend == "python"
    (group,) = config.instance_group
    assert (group.kind, group.count) == (group.KIND_CPU, 2)
    assert config.parameters["intra_op_threads"].string_value == "1"
    assert "cuda_graphs" not in config.parameters
    assert [each.batch_size for each in config.model_warmup] == [1, 1, 1]


def test_triton_on_a_gpu(pulled: Pulled, tmp_path: Path) -> None:
    config = configuration(pulled, tmp_path / "repository", ON_GPU)
    assert config.backend == "python"
    (group,) = config.instance_group
    assert (group.kind, group.count) == (group.KIND_GPU, 2)
    assert config.parameters["cuda_graphs"].string_value == "0"
    assert config.parameters["fused_head"].string_value == "1"
    assert "intra_op_threads" not in config.parameters
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert [each.batch_size for each in config.model_warmup] == [1, 32, 1, 32, 1, 32]


def test_there_is_no_int8(pulled: Pulled, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="torch has no int8: use --backend python"):
        export_model(
            pulled, tmp_path, execution=Execution(precision="int8", backend="torch", device="cpu")
        )
