"""Triton's configurations: protobuf's own parser reads them, and they fit their graphs."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models import pbtxt
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.export import export_graph, identity_of
from sparsegate_server.models.spec import (
    LENGTH_BUCKETS,
    ModelIdentity,
    ModelSpec,
    Output,
    Precision,
    TritonBackend,
)
from sparsegate_server.models.triton_config import check_config, config_of, write_config

from . import bert_oracle

BACKENDS: tuple[TritonBackend, ...] = ("python", "onnxruntime", "tensorrt", "torch")
OUTPUTS: tuple[Output, ...] = ("terms", "pooled", "logits")
ONNX_TYPES = {
    onnx.TensorProto.INT32: model_config_pb2.TYPE_INT32,
    onnx.TensorProto.UINT16: model_config_pb2.TYPE_UINT16,
    onnx.TensorProto.UINT32: model_config_pb2.TYPE_UINT32,
    onnx.TensorProto.FLOAT: model_config_pb2.TYPE_FP32,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return bert_oracle.write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def parse(spec: ModelSpec) -> Any:
    """The configuration as Triton reads it; an unknown field or a wrong type is an error."""
    return text_format.Parse(write_config(config_of(spec)), model_config_pb2.ModelConfig())


def of_graph(value: onnx.ValueInfoProto) -> tuple[str, int, list[int]]:
    """Name, Triton's type, and sizes after the batch, -1 where they vary."""
    kind = value.type.tensor_type
    dims = [size.dim_value or -1 for size in kind.shape.dim]
    assert dims[0] == -1
    return value.name, ONNX_TYPES[kind.elem_type], dims[1:]


@pytest.mark.parametrize(
    ("backend", "output", "positions", "vocabulary"),
    list(product(BACKENDS, OUTPUTS, [False, True], [50, 65537])),
)
def test_names_types_and_shapes_are_the_graphs(
    tmp_path: Path, backend: TritonBackend, output: Output, positions: bool, vocabulary: int
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path, vocabulary)
    identity = identity_of(checkpoint)
    spec = ModelSpec("x", identity, output, backend=backend, positions=positions)
    graph = export_graph(checkpoint, identity, output, positions=positions)
    config = parse(spec)
    proto = onnx.load_model_from_string(graph).graph
    for configured, found in ((config.input, proto.input), (config.output, proto.output)):
        assert [(each.name, each.data_type, list(each.dims)) for each in configured] == [
            of_graph(value) for value in found
        ]
    check_config(config_of(spec), graph)


def test_a_configuration_of_another_graph_is_refused(checkpoint: Checkpoint) -> None:
    identity = identity_of(checkpoint)
    graph = export_graph(checkpoint, identity, "pooled")
    for other in (ModelSpec("x", identity), ModelSpec("x", replace(identity, vocabulary_size=49))):
        with pytest.raises(ModelSourceError, match="does not fit its graph"):
            check_config(config_of(replace(other, output="logits")), graph)
    with pytest.raises(ModelSourceError, match="does not fit its graph"):
        check_config(config_of(ModelSpec("x", identity, "pooled", positions=True)), graph)


def model(**execution: Any) -> ModelSpec:
    return ModelSpec("x", ModelIdentity("splade", "w", "t", 30522), **execution)


def parameters(config: Any) -> dict[str, str]:
    return {name: value.string_value for name, value in config.parameters.items()}


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_model_queues_alike(backend: TritonBackend) -> None:
    config = parse(model(backend=backend, device="cpu" if backend == "python" else "gpu"))
    assert (config.name, config.max_batch_size) == ("x", 32)
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    policy = config.dynamic_batching.default_queue_policy
    assert policy.timeout_action == policy.REJECT
    assert policy.allow_timeout_override
    assert policy.default_timeout_microseconds == 30_000_000
    assert policy.max_queue_size == 256
    assert parameters(config)["sparsegate_fingerprint"] == model().fingerprint


def test_the_python_backend_runs_on_the_processor() -> None:
    config = parse(model())
    assert config.backend == "python"
    (group,) = config.instance_group
    assert (group.kind, group.count) == (group.KIND_CPU, 2)
    assert parameters(config)["intra_op_threads"] == "1"
    assert len(config.model_warmup) == 0


def test_onnxruntime_on_the_processor() -> None:
    config = parse(model(backend="onnxruntime", device="cpu"))
    assert config.backend == "onnxruntime"
    (group,) = config.instance_group
    assert group.kind == group.KIND_CPU
    assert len(group.rate_limiter.resources) == 0
    assert parameters(config)["intra_op_thread_count"] == "1"
    assert warm_ups(config) == [(1, length) for length in LENGTH_BUCKETS]


def test_onnxruntime_on_a_gpu() -> None:
    config = parse(model(backend="onnxruntime", device="gpu"))
    (group,) = config.instance_group
    assert (group.kind, group.count) == (group.KIND_GPU, 2)
    (resource,) = group.rate_limiter.resources
    assert (resource.name, resource.count) == ("gpu_batch", 1)
    assert "intra_op_thread_count" not in parameters(config)
    assert not config.HasField("optimization")
    assert warm_ups(config) == [(rows, length) for length in LENGTH_BUCKETS for rows in (1, 32)]


@pytest.mark.parametrize(("precision", "mode"), [("fp32", "FP32"), ("fp16", "FP16")])
def test_tensorrt_is_an_accelerator_of_onnxruntime(precision: Precision, mode: str) -> None:
    config = parse(model(backend="tensorrt", device="gpu", precision=precision))
    assert config.backend == "onnxruntime"
    (chosen,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert chosen.name == "tensorrt"
    assert chosen.parameters["precision_mode"] == mode
    # Each model, and each version of one, keeps engines of its own.
    assert chosen.parameters["trt_engine_cache_path"].endswith(f"/x-{model().fingerprint}")
    shapes = [chosen.parameters[f"trt_profile_{kind}_shapes"] for kind in ("min", "opt", "max")]
    assert shapes == [
        f"input_ids:{shape},attention_mask:{shape}" for shape in ("1x8", "32x128", "32x512")
    ]
    assert {length for _, length in warm_ups(config)} == set(LENGTH_BUCKETS)


def warm_ups(config: Any) -> list[tuple[int, int]]:
    """Batch size and length of each, after a look at what they send."""
    for each in config.model_warmup:
        assert sorted(each.inputs) == ["attention_mask", "input_ids"]
        for tensor in each.inputs.values():
            assert tensor.data_type == model_config_pb2.TYPE_INT32
            assert tensor.zero_data
    return [(each.batch_size, each.inputs["input_ids"].dims[0]) for each in config.model_warmup]


def test_text_is_quoted_as_protobuf_reads_it() -> None:
    text = 'a "quoted" \\ backslash, a\nline and é'
    written = pbtxt.write([pbtxt.Comment("one\ntwo"), ("name", text)])
    assert text_format.Parse(written, model_config_pb2.ModelConfig()).name == text
