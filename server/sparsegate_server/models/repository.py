"""Writes and reads the model repository: one folder a model, laid out as Triton wants it.

<name>/config.pbtxt        what Triton serves               committed
<name>/sparsegate.json     the ModelSpec                    committed
<name>/1/model.py          runs the graph in Triton         committed, for python and torch
<name>/1/model.onnx        the graph and its weights        exported here
<name>/1/model.safetensors the weights once more            exported here, for torch
<name>/tokenizer.json      for the gateway                  exported here
<name>/query_weights.npy   of queries without a model       exported here, for some models
<name>.query/…             the graph of queries, the same   for models that have one of their own
                           but the description and the tokenizer
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx

from sparsegate_server.errors import ModelNotFound, ModelSourceError
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.execution import Execution, Vectors, default_name, export_command
from sparsegate_server.models.export import export_graph, identity_of
from sparsegate_server.models.graph import DTYPES
from sparsegate_server.models.originals import Originals
from sparsegate_server.models.pull import Pulled, Report, quiet
from sparsegate_server.models.query_table import QUERY_TABLE_FILE, table_bytes
from sparsegate_server.models.recipe import FamilyChoice, recipe_of
from sparsegate_server.models.signature import TensorSpec
from sparsegate_server.models.spec import (
    QUERY_SUFFIX,
    SPEC_FILE,
    TOKENIZER_FILE,
    ModelSpec,
    Output,
    TritonBackend,
)
from sparsegate_server.models.torch_weights import torch_weights
from sparsegate_server.models.triton_config import (
    FINGERPRINT_PARAMETER,
    MAX_BATCH_SIZE,
    TritonConfig,
    config_of,
    write_config,
)
from sparsegate_server.models.verification import Verification

__all__ = ["FINGERPRINT_PARAMETER", "MAX_BATCH_SIZE", "Execution", "Vectors", "export_command"]

CONFIG_FILE = "config.pbtxt"
GRAPH_FILE = "1/model.onnx"
SERVER_FILE = "1/model.py"
TORCH_FILE = "1/model.safetensors"

Gate = Callable[[Path, ModelSpec, Originals], Verification]
"""Judges a model that lies in a repository, by the checkpoints that it was made of. Raises
ModelSourceError where it must not be exported."""

_SERVER_SOURCES: dict[TritonBackend, Path] = {
    "python": Path(__file__).with_name("triton_model.py"),
    "torch": Path(__file__).with_name("torch_executor.py"),
}
_MODEL_FILES = (
    CONFIG_FILE,
    GRAPH_FILE,
    TORCH_FILE,
    SERVER_FILE,
    TOKENIZER_FILE,
    QUERY_TABLE_FILE,
    SPEC_FILE,
)
"""All that a folder can have, its description last."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def export(
    pulled: Pulled,
    repository: Path,
    *,
    name: str = "",
    output: Output = "terms",
    vectors: Vectors | None = None,
    execution: Execution | None = None,
    gate: Gate | None = None,
    report: Report = quiet,
) -> ModelSpec:
    """Writes a model's folder; the same bytes for the same checkpoint and arguments.

    What is not float32 passes the gate before anything is in its place, and carries its record.
    Without a gate it has none, and is not served before `record` gives it one.

    Args:
        pulled: the checkpoint.
        repository: made when it is not there.
        name: folder and served name; made of the checkpoint's own when empty.
        output: what the graph returns, where `execution` is None.
        vectors: what the model's vectors are; the checkpoint's files say it when None.
        execution: how the graph is run.
        gate: judges a graph of another precision than float32.

    Raises:
        ModelSourceError: the checkpoint is not understood, the name is illegal, the arguments do
            not go together, or the gate has refused.
    """
    vectors = vectors or Vectors()
    execution = execution or Execution(output)
    name = name or default_name(pulled.name, execution)
    _check_name(name)
    device = execution.placed
    report(f"Reading {pulled.folder}")
    own_queries = vectors.family is not FamilyChoice.SPLADE_DOC
    originals = Originals.load(pulled, vectors.queries, own_queries=own_queries)
    documents = originals.documents.checkpoint
    queries = originals.queries.checkpoint if originals.queries else None
    recipe = recipe_of(
        documents,
        family=vectors.family,
        activation=vectors.activation,
        drop_special=vectors.drop_special,
    )
    spec = ModelSpec(
        name=name,
        identity=identity_of(documents, recipe, queries),
        output=execution.output,
        precision=execution.precision,
        backend=execution.backend,
        device=device,
        positions=execution.positions,
        description=pulled.description,
        source=pulled.source,
        query_source=vectors.queries.source if vectors.queries else "",
        parameters=documents.parameters + (queries.parameters if queries else 0),
    )
    if gate is not None and spec.precision != "fp32":
        report(f"Comparing {name} with its checkpoint")
        return _write_through(gate, repository, spec, originals)
    report(f"Writing {repository / name}")
    _write_model(repository / name, spec, documents, queries)
    return spec


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name.endswith(QUERY_SUFFIX):
        raise ModelSourceError(
            f"{name!r} is no model name: use 1 to 64 lower-case letters, digits, '.', '_' and '-', "
            f"and another end than '{QUERY_SUFFIX}'"
        )


def _write_through(
    gate: Gate, repository: Path, spec: ModelSpec, originals: Originals
) -> ModelSpec:
    """Writes a model beside its place, and moves it there once it has passed."""
    repository.mkdir(parents=True, exist_ok=True)
    queries = originals.queries.checkpoint if originals.queries else None
    with tempfile.TemporaryDirectory(dir=repository, prefix=f".{spec.name}-") as scratch:
        staged = Path(scratch)
        _write_model(staged / spec.name, spec, originals.documents.checkpoint, queries)
        spec = record(staged, spec, gate(staged, spec, originals))
        for name in reversed(spec.served_names):
            _move(staged / name, repository / name)
    if len(spec.served_names) == 1:
        _remove_query_graph(repository / spec.name)
    return spec


def _move(source: Path, folder: Path) -> None:
    """Replaces a model's files by others, the description last, and removes what they have not."""
    (folder / "1").mkdir(parents=True, exist_ok=True)
    for file in _MODEL_FILES:
        if (source / file).is_file():
            (source / file).replace(folder / file)
        else:
            (folder / file).unlink(missing_ok=True)


def _remove_query_graph(folder: Path) -> None:
    """An earlier export's, under a name that only exports have."""
    query_folder = folder.with_name(folder.name + QUERY_SUFFIX)
    if query_folder.is_dir():
        shutil.rmtree(query_folder)


def record(repository: Path, spec: ModelSpec, verified: Verification) -> ModelSpec:
    """Writes into a model's description what the parity gate has found."""
    spec = replace(spec, verified=verified)
    _write(repository / spec.name / SPEC_FILE, spec.to_json().encode())
    return spec


def _write_model(
    folder: Path, spec: ModelSpec, documents: Checkpoint, queries: Checkpoint | None
) -> None:
    """All files of a model; its description last, so that it stands for the others."""
    _write_served(folder, spec, documents)
    query_spec = spec.for_queries
    if queries is not None and query_spec is not None:
        _write_served(folder.with_name(query_spec.name), query_spec, queries)
    else:
        _remove_query_graph(folder)
    table = folder / QUERY_TABLE_FILE
    if spec.identity.idf_sha256 and documents.query_weights is not None:
        _write(table, table_bytes(documents.query_weights))
    else:
        table.unlink(missing_ok=True)
    _write(folder / TOKENIZER_FILE, documents.tokenizer)
    _write(folder / SPEC_FILE, spec.to_json().encode())


def _write_served(folder: Path, spec: ModelSpec, checkpoint: Checkpoint) -> None:
    """What Triton reads of one graph."""
    graph = export_graph(
        checkpoint,
        spec.identity,
        spec.output,
        spec.precision,
        positions=spec.positions,
        screened=spec.device == "cpu",
    )
    config = config_of(spec)
    check_config(config, graph)
    (folder / "1").mkdir(parents=True, exist_ok=True)
    # PyTorch reads weights of its own; the graph is what this process runs and compares it with.
    _write(folder / GRAPH_FILE, graph)
    if spec.backend == "torch":
        _write(folder / TORCH_FILE, torch_weights(checkpoint, spec))
    else:
        (folder / TORCH_FILE).unlink(missing_ok=True)
    if spec.backend in _SERVER_SOURCES:
        _write(folder / SERVER_FILE, _SERVER_SOURCES[spec.backend].read_bytes())
    else:
        (folder / SERVER_FILE).unlink(missing_ok=True)
    _write(folder / CONFIG_FILE, write_config(config).encode())


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


def is_exported(folder: Path) -> bool:
    """Whether the folder has its graph and tokenizer, and not only what is committed."""
    return all((folder / file).is_file() for file in (SPEC_FILE, GRAPH_FILE, TOKENIZER_FILE))


def served_files(folder: Path, spec: ModelSpec) -> list[Path]:
    """Files without which a model cannot be served, besides its description."""
    graphs = (GRAPH_FILE, TORCH_FILE) if spec.backend == "torch" else (GRAPH_FILE,)
    files = [folder / TOKENIZER_FILE]
    files += [folder.with_name(name) / graph for name in spec.served_names for graph in graphs]
    if spec.identity.idf_sha256:
        files.append(folder / QUERY_TABLE_FILE)
    return files


def missing_files(folder: Path, spec: ModelSpec) -> list[Path]:
    """Those of a model's files that are not there."""
    return [file for file in served_files(folder, spec) if not file.is_file()]


def exported(repository: Path) -> list[ModelSpec]:
    """The models of a repository that can be served, by name; a query graph is not one of them.

    Raises:
        ModelSourceError: a folder's description does not hold together.
    """
    if not repository.is_dir():
        return []
    specs = [
        (folder, ModelSpec.load(folder))
        for folder in sorted(repository.iterdir())
        if is_exported(folder)
    ]
    return [spec for folder, spec in specs if not missing_files(folder, spec)]


def load_specs(repository: Path, names: list[str]) -> list[ModelSpec]:
    """The named models, or all that are exported when no name is given, for serving.

    Raises:
        ModelNotFound: a named model has no folder.
        ModelSourceError: a model is not exported, its description does not hold together, or it is
            not float32 and nobody has compared it with its checkpoint.
    """
    specs = [load_spec(repository, name) for name in names] if names else exported(repository)
    if not specs:
        raise ModelSourceError(
            f"{repository} has no exported model: run `sparsegate-server model export NAME`"
        )
    for spec in specs:
        _check_verified(spec)
    return specs


def _check_verified(spec: ModelSpec) -> None:
    """Vectors of one fingerprint are mixed in collections, whatever precision they came from."""
    if spec.precision != "fp32" and spec.verified is None:
        raise ModelSourceError(
            f"{spec.name!r} is {spec.precision}, and it is not known how far its vectors are from "
            f"those of fp32: run `sparsegate-server model verify {spec.name}`, which records it, "
            "or remove its folder"
        )


def load_spec(repository: Path, name: str) -> ModelSpec:
    """One exported model, verified or not. Raises as `load_specs` does."""
    folder = repository / name
    if not folder.is_dir():
        raise ModelNotFound(
            f"{repository} has no model {name!r}: see `sparsegate-server model list`",
            metadata={"model": name},
        )
    if name.endswith(QUERY_SUFFIX):
        raise ModelSourceError(
            f"{folder} is the query graph of {name.removesuffix(QUERY_SUFFIX)!r}: name that model"
        )
    spec = ModelSpec.load(folder)
    missing = missing_files(folder, spec)
    if missing:
        raise ModelSourceError(f"{missing[0]} is missing: run `{export_command(spec)}`")
    return spec


def _write(file: Path, content: bytes) -> None:
    """Replaces a file as a whole; a reader sees the old one or the new one."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(file)
