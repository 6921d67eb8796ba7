"""What a user says of a model's export, and how to say it again."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.catalog import CATALOG, catalog_name
from sparsegate_server.models.pull import Pulled
from sparsegate_server.models.recipe import FamilyChoice
from sparsegate_server.models.spec import (
    Activation,
    Device,
    ModelIdentity,
    ModelSpec,
    Output,
    Precision,
    TritonBackend,
)


@dataclass(frozen=True, slots=True)
class Execution:
    """How a model's graph is run: it changes how fast vectors come, and them by little or nothing.

    Attributes:
        output: what the graph returns.
        precision: of its weights and products.
        backend: what runs the graph in Triton.
        device: where Triton runs it; None for a GPU with the backends that can use one.
        positions: whether each term comes with the token position that caused it.
    """

    output: Output = "terms"
    precision: Precision = "fp32"
    backend: TritonBackend = "python"
    device: Device | None = None
    positions: bool = False

    @property
    def placed(self) -> Device:
        """The device.

        Raises:
            ModelSourceError: the backend or the precision does not go with it.
        """
        on_cpu = self.backend == "python" or self.precision == "int8"
        device = self.device or ("cpu" if on_cpu else "gpu")
        if self.precision == "int8" and (device == "gpu" or self.backend == "tensorrt"):
            raise ModelSourceError("int8 is for processors: on a GPU, use --precision fp16")
        if self.precision == "int8" and self.backend == "torch":
            raise ModelSourceError("torch has no int8: use --backend python or onnxruntime")
        if self.backend == "python" and device == "gpu":
            raise ModelSourceError(
                "the python backend runs on the processor: for a GPU, use --backend onnxruntime "
                "or torch"
            )
        if self.backend == "tensorrt" and device == "cpu":
            raise ModelSourceError("TensorRT needs a GPU: use --backend onnxruntime")
        return device


@dataclass(frozen=True, slots=True)
class Vectors:
    """What the user says of a model's vectors; None is for the checkpoint's own files to say.

    Attributes:
        family: how texts become terms.
        activation: what a logit goes through before it is a weight.
        drop_special: whether special tokens are left out.
        queries: the checkpoint that encodes queries.
    """

    family: FamilyChoice | None = None
    activation: Activation | None = None
    drop_special: bool | None = None
    queries: Pulled | None = None


def export_command(spec: ModelSpec) -> str:
    """What a user types to write this model's folder."""
    source = catalog_name(spec.source)
    identity = spec.identity
    execution = Execution(spec.output, spec.precision, spec.backend, spec.device, spec.positions)
    options = [
        ("--name", spec.name if spec.name != default_name(source, execution) else ""),
        # Without them, the files of a checkpoint say it, and may say something else.
        ("--family", _family_option(identity) if source not in CATALOG else ""),
        ("--activation", identity.activation if source not in CATALOG else ""),
        ("--query", catalog_name(spec.query_source)),
        ("--precision", spec.precision if spec.precision != "fp32" else ""),
        ("--backend", spec.backend if spec.backend != "python" else ""),
        ("--device", spec.device if spec.device != replace(execution, device=None).placed else ""),
        ("--output", spec.output if spec.output != "terms" else ""),
    ]
    words = [f"{option} {value}" for option, value in options if value]
    if spec.positions:
        words.append("--positions")
    if spec.verified is not None and spec.verified.forced:
        words.append("--force")
    if bool(identity.dropped_terms) != (identity.family == "splade-doc"):
        words.append("--drop-special" if identity.dropped_terms else "--keep-special")
    return " ".join([f"sparsegate-server model export {source}", *words])


def _family_option(identity: ModelIdentity) -> str:
    if identity.family == "splade-doc":
        return identity.family
    return f"splade-{identity.pooling}"


def default_name(checkpoint: str, execution: Execution) -> str:
    """The folder of a checkpoint's export when the user names none: it says what is unusual."""
    unusual = (
        (execution.precision, "fp32"),
        (execution.backend, "python"),
        (execution.output, "terms"),
    )
    return "-".join([checkpoint, *(value for value, usual in unusual if value != usual)])
