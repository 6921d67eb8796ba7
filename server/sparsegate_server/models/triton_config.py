"""What Triton is told about a model: typed, and written as its config.pbtxt.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models import pbtxt
from sparsegate_server.models.graph import DTYPES
from sparsegate_server.models.pbtxt import Comment, Line, Message, Rows, Value, Word
from sparsegate_server.models.signature import FINGERPRINT_KEY, INPUTS, TensorSpec, outputs_of
from sparsegate_server.models.spec import ModelSpec

MAX_BATCH_SIZE = 32

_QUEUE_SECONDS = 30
_QUEUE_SIZE = 256
_WORKSPACE_BYTES = 4 * 2**30
_TYPICAL_LENGTH = 128
_ENGINE_CACHE = "/var/cache/sparsegate/tensorrt"


@dataclass(frozen=True, slots=True)
class InstanceGroup:
    """Copies of a model.

    Attributes:
        kind: where they run.
        count: how many; on a GPU, how many on each.
        resource: what each occupies one of while it works, for Triton's rate limiter.
        why: a comment.
    """

    kind: Literal["KIND_CPU", "KIND_GPU"]
    count: int
    resource: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """What waits for how long.

    Attributes:
        seconds: after which a request is rejected; requests can ask for less.
        size: requests that may wait; more are rejected.
    """

    seconds: int
    size: int


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A runtime that a GPU's graph is handed to."""

    name: str
    parameters: tuple[tuple[str, str], ...]
    why: str


@dataclass(frozen=True, slots=True)
class WarmUp:
    """One batch that runs before the model is ready."""

    batch_size: int
    length: int


@dataclass(frozen=True, slots=True)
class TritonConfig:
    """A model as Triton serves it.

    Attributes:
        name: served name.
        backend: Triton's.
        inputs, outputs: the graph's.
        queue: what waits for how long.
        instances: copies of the model.
        parameters: the backend's and our own, by name.
        warm_ups: in the order in which they run.
        accelerator: None for the backend's own runtime.
    """

    name: str
    backend: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    queue: QueuePolicy
    instances: InstanceGroup
    parameters: tuple[tuple[str, str], ...]
    warm_ups: tuple[WarmUp, ...] = ()
    accelerator: Accelerator | None = None
    max_batch_size: int = MAX_BATCH_SIZE


def config_of(spec: ModelSpec) -> TritonConfig:
    """How a model is served; for its query graph, that of `spec.for_queries`."""
    on_gpu = spec.device == "gpu"
    ours = spec.backend in ("python", "torch")
    return TritonConfig(
        name=spec.name,
        # TensorRT takes what it knows of the graph; onnxruntime runs the rest, such as a number of
        # terms that depends on the texts.
        backend="python" if ours else "onnxruntime",
        inputs=INPUTS,
        outputs=outputs_of(spec.identity, spec.output, spec.positions),
        queue=QueuePolicy(_QUEUE_SECONDS, _QUEUE_SIZE),
        instances=_GPU if on_gpu else _CPU,
        parameters=(*_parameters(spec), (FINGERPRINT_KEY, spec.fingerprint)),
        warm_ups=() if spec.backend == "python" else tuple(_warm_ups(spec)),
        accelerator=_tensorrt(spec) if spec.backend == "tensorrt" else None,
    )


def write_config(config: TritonConfig) -> str:
    """The text of config.pbtxt."""
    return pbtxt.write(list(_lines(config)))


_CPU = InstanceGroup(
    "KIND_CPU",
    2,
    why="Two instances of one thread each; measured on two cores, 1.6 times the throughput of one.",
)
_GPU = InstanceGroup(
    "KIND_GPU",
    2,
    resource="gpu_batch",
    why=(
        "Two on each GPU: one is fed while the other computes. With --rate-limit=execution_count,\n"
        "all models of a GPU together run one batch at a time."
    ),
)


def _parameters(spec: ModelSpec) -> tuple[tuple[str, str], ...]:
    """What the backend, or our code in the python backend, is told."""
    match spec.backend, spec.device:
        case "torch", "gpu":
            return (("cuda_graphs", "0"), ("fused_head", "1"))
        case _, "gpu":
            return ()
        case "python" | "torch", _:
            return (("intra_op_threads", "1"),)
    return (("intra_op_thread_count", "1"),)


def _warm_ups(spec: ModelSpec) -> Iterator[WarmUp]:
    """Every length, alone; on a GPU in full batches too, whose memory is then there."""
    for length in spec.length_buckets:
        yield WarmUp(1, length)
        if spec.device == "gpu":
            yield WarmUp(MAX_BATCH_SIZE, length)


def _tensorrt(spec: ModelSpec) -> Accelerator:
    shortest, longest = spec.length_buckets[0], spec.identity.max_length
    typical = min(_TYPICAL_LENGTH, longest)
    return Accelerator(
        "tensorrt",
        (
            ("precision_mode", "FP16" if spec.precision == "fp16" else "FP32"),
            ("max_workspace_size_bytes", str(_WORKSPACE_BYTES)),
            ("trt_engine_cache_enable", "1"),
            ("trt_engine_cache_path", f"{_ENGINE_CACHE}/{spec.name}-{spec.fingerprint}"),
            # The encoder and its head are hundreds of nodes in one piece; what little TensorRT
            # could take behind the choice of terms has shapes that no profile can name.
            ("trt_min_subgraph_size", "40"),
            ("trt_profile_min_shapes", _shapes(1, shortest)),
            ("trt_profile_opt_shapes", _shapes(MAX_BATCH_SIZE, typical)),
            ("trt_profile_max_shapes", _shapes(MAX_BATCH_SIZE, longest)),
        ),
        why=(
            "Engines are built at the first start and kept; mount a volume there. Triton 24.03 "
            "does not\nknow the trt_profile parameters: take a later image."
        ),
    )


def _shapes(batch: int, length: int) -> str:
    return ",".join(f"{tensor.name}:{batch}x{length}" for tensor in INPUTS)


def _lines(config: TritonConfig) -> Iterator[Line]:
    yield Comment("Written by `sparsegate-server model export`.")
    yield "name", config.name
    yield "backend", config.backend
    yield "max_batch_size", config.max_batch_size
    yield "input", Rows(tuple(_tensor(tensor) for tensor in config.inputs))
    yield "output", Rows(tuple(_tensor(tensor) for tensor in config.outputs))
    yield Comment(
        "No delay: whatever waits is batched, and a lone request is not held back. No priority "
        "levels\neither: with them, requests stood still for up to a second at 32 clients. The "
        "gateway keeps its\nbulk back instead. A request may bring a shorter timeout of its own."
    )
    yield "dynamic_batching", _batching(config.queue)
    yield Comment(config.instances.why)
    group = (_instances(config.instances),)
    yield "instance_group", Rows(group) if config.instances.resource else group
    for name, value in config.parameters:
        yield (
            "parameters",
            pbtxt.message(key=name, value=pbtxt.message(string_value=value)),
        )
    if config.accelerator is not None:
        yield Comment(config.accelerator.why)
        yield "optimization", _optimization(config.accelerator)
    if config.warm_ups:
        yield Comment("Before it is ready, the model has run every length that requests have.")
    for warm_up in config.warm_ups:
        yield "model_warmup", _warm_up(warm_up, config.inputs)


def _tensor(tensor: TensorSpec) -> Message:
    dims = tuple(size if isinstance(size, int) else -1 for size in tensor.dims)
    return pbtxt.message(name=tensor.name, data_type=triton_type(tensor), dims=dims)


def triton_type(tensor: TensorSpec) -> Word:
    """Triton's name of a tensor's type."""
    return Word(f"TYPE_{tensor.dtype.upper().replace('FLOAT', 'FP')}")


def _batching(queue: QueuePolicy) -> Message:
    return pbtxt.message(
        max_queue_delay_microseconds=0,
        default_queue_policy=pbtxt.message(
            timeout_action=Word("REJECT"),
            default_timeout_microseconds=queue.seconds * 1_000_000,
            allow_timeout_override=True,
            max_queue_size=queue.size,
        ),
    )


def _instances(group: InstanceGroup) -> Message:
    fields: dict[str, Value] = {"kind": Word(group.kind), "count": group.count}
    if group.resource:
        resource = pbtxt.message(name=group.resource, count=1)
        fields["rate_limiter"] = pbtxt.message(resources=(resource,))
    return pbtxt.message(**fields)


def _optimization(accelerator: Accelerator) -> Message:
    parameters = tuple(
        ("parameters", pbtxt.message(key=name, value=value))
        for name, value in accelerator.parameters
    )
    chosen = Message((("name", accelerator.name), *parameters))
    return pbtxt.message(execution_accelerators=pbtxt.message(gpu_execution_accelerator=chosen))


def _warm_up(warm_up: WarmUp, inputs: Sequence[TensorSpec]) -> Message:
    zeros = tuple(
        (
            "inputs",
            pbtxt.message(
                key=tensor.name,
                value=pbtxt.message(
                    data_type=triton_type(tensor), dims=(warm_up.length,), zero_data=True
                ),
            ),
        )
        for tensor in inputs
    )
    name = f"{warm_up.batch_size} of {warm_up.length} tokens"
    return Message((("name", name), ("batch_size", warm_up.batch_size), *zeros))


def check_config(config: TritonConfig, graph: bytes) -> None:
    """Holds names, types and shapes of a configuration against the graph that was written.

    Triton does the same when it loads a model, but not with the python backend.

    Raises:
        ModelSourceError: they differ.
    """
    proto = onnx.load_model_from_string(graph).graph
    for configured, found in ((config.inputs, proto.input), (config.outputs, proto.output)):
        actual = tuple(_tensor_of(value) for value in found)
        if actual != configured:
            raise ModelSourceError(
                f"the configuration of {config.name!r} does not fit its graph: {configured} "
                f"against {actual}"
            )


def _tensor_of(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    dtypes = {int(number): dtype for dtype, number in DTYPES.items()}
    # The first dimension is the batch.
    dims = tuple(size.dim_param or size.dim_value for size in kind.shape.dim[1:])
    return TensorSpec(value.name, dtypes[kind.elem_type], dims)
