"""Writes and reads the model repository: one folder a model, laid out as Triton wants it.

<name>/config.pbtxt     what Triton serves            committed
<name>/sparsegate.json  the ModelSpec                 committed
<name>/1/model.py       runs the graph in Triton      committed
<name>/1/model.onnx     the graph and its weights     exported here
<name>/tokenizer.json   for the gateway               exported here
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sparsegate_server.errors import ModelNotFound, ModelSourceError
from sparsegate_server.models.catalog import CATALOG
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.export import export_graph, identity_of, index_dtype
from sparsegate_server.models.pull import Pulled, Report, quiet
from sparsegate_server.models.spec import SPEC_FILE, TOKENIZER_FILE, ModelSpec, Output

CONFIG_FILE = "config.pbtxt"
GRAPH_FILE = "1/model.onnx"
SERVER_FILE = "1/model.py"
MAX_BATCH_SIZE = 32
FINGERPRINT_PARAMETER = "sparsegate_fingerprint"

_SERVER_SOURCE = Path(__file__).with_name("triton_model.py")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CONFIG = """\
# Written by `sparsegate-server model export`.
name: "{name}"
backend: "python"
max_batch_size: {max_batch_size}
input [
  {{ name: "input_ids" data_type: TYPE_INT32 dims: [ -1 ] }},
  {{ name: "attention_mask" data_type: TYPE_INT32 dims: [ -1 ] }}
]
output [
{outputs}
]
# No delay: whatever waits is batched, and a lone request is not held back. No priority levels
# either: with them, requests stood still for up to a second at 32 clients. The gateway keeps its
# bulk back instead.
dynamic_batching {{ max_queue_delay_microseconds: 0 }}
# Two processes of one thread each; measured on two cores, 1.6 times the throughput of one.
instance_group [ {{ kind: KIND_CPU count: 2 }} ]
parameters {{ key: "intra_op_threads" value {{ string_value: "1" }} }}
parameters {{ key: "{fingerprint_parameter}" value {{ string_value: "{fingerprint}" }} }}
"""


def export(
    pulled: Pulled,
    repository: Path,
    *,
    name: str = "",
    output: Output = "terms",
    report: Report = quiet,
) -> ModelSpec:
    """Writes a model's folder; the same bytes for the same checkpoint and arguments.

    Args:
        pulled: the checkpoint.
        repository: made when it is not there.
        name: folder and served name; the checkpoint's own name (with `-logits` for raw logits)
            when empty.
        output: what the graph returns.

    Raises:
        ModelSourceError: the checkpoint is not understood, or the name is illegal.
    """
    name = name or default_name(pulled.name, output)
    if not _NAME.fullmatch(name):
        raise ModelSourceError(
            f"{name!r} is no model name: use 1 to 64 lower-case letters, digits, '.', '_' and '-'"
        )
    report(f"Reading {pulled.folder}")
    checkpoint = Checkpoint.load(pulled.folder)
    spec = ModelSpec(
        name=name,
        identity=identity_of(checkpoint),
        output=output,
        description=pulled.description,
        source=pulled.source,
        parameters=checkpoint.parameters,
    )
    report(f"Writing {repository / name}")
    folder = repository / name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    _write(folder / GRAPH_FILE, export_graph(checkpoint, spec.identity, output))
    _write(folder / TOKENIZER_FILE, checkpoint.tokenizer)
    _write(folder / SERVER_FILE, _SERVER_SOURCE.read_bytes())
    _write(folder / CONFIG_FILE, triton_config(spec).encode())
    _write(folder / SPEC_FILE, spec.to_json().encode())
    return spec


def is_exported(folder: Path) -> bool:
    """Whether the folder has its graph and tokenizer, and not only what is committed."""
    return all((folder / file).is_file() for file in (SPEC_FILE, GRAPH_FILE, TOKENIZER_FILE))


def exported(repository: Path) -> list[ModelSpec]:
    """The models of a repository that can be served, by name.

    Raises:
        ModelSourceError: a folder's description does not hold together.
    """
    if not repository.is_dir():
        return []
    return [
        ModelSpec.load(folder) for folder in sorted(repository.iterdir()) if is_exported(folder)
    ]


def load_specs(repository: Path, names: list[str]) -> list[ModelSpec]:
    """The named models, or all that are exported when no name is given.

    Raises:
        ModelNotFound: a named model has no folder.
        ModelSourceError: a model is not exported, or its description does not hold together.
    """
    if not names:
        specs = exported(repository)
        if not specs:
            raise ModelSourceError(
                f"{repository} has no exported model: run `sparsegate-server model export NAME`"
            )
        return specs
    return [_load_spec(repository, name) for name in names]


def _load_spec(repository: Path, name: str) -> ModelSpec:
    folder = repository / name
    if not folder.is_dir():
        raise ModelNotFound(
            f"{repository} has no model {name!r}: see `sparsegate-server model list`",
            metadata={"model": name},
        )
    spec = ModelSpec.load(folder)
    if not is_exported(folder):
        raise ModelSourceError(f"{folder} has no graph yet: run `{export_command(spec)}`")
    return spec


def export_command(spec: ModelSpec) -> str:
    """What a user types to write this model's folder."""
    source = next((e.name for e in CATALOG.values() if e.source == spec.source), spec.source)
    options = "" if spec.output == "terms" else f" --output {spec.output}"
    if spec.name != default_name(source, spec.output):
        options += f" --name {spec.name}"
    return f"sparsegate-server model export {source}{options}"


def default_name(checkpoint: str, output: Output) -> str:
    """The folder of a checkpoint's export when the user names none."""
    return checkpoint if output == "terms" else f"{checkpoint}-{output}"


def triton_config(spec: ModelSpec) -> str:
    """The text of config.pbtxt."""
    if spec.output == "logits":
        outputs = [("logits", "TYPE_FP32", f"-1, {spec.identity.vocabulary_size}")]
    else:
        ids = f"TYPE_{index_dtype(spec.identity.vocabulary_size).upper()}"
        outputs = [("indices", ids, "-1"), ("values", "TYPE_FP32", "-1")]
    return _CONFIG.format(
        name=spec.name,
        max_batch_size=MAX_BATCH_SIZE,
        outputs=",\n".join(
            f'  {{ name: "{name}" data_type: {dtype} dims: [ {dims} ] }}'
            for name, dtype, dims in outputs
        ),
        fingerprint_parameter=FINGERPRINT_PARAMETER,
        fingerprint=spec.fingerprint,
    )


def _write(file: Path, content: bytes) -> None:
    """Replaces a file as a whole; a reader sees the old one or the new one."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(file)
