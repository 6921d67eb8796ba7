"""Writes and reads the model repository: one folder a model, laid out as Triton wants it.

<name>/config.pbtxt        what Triton serves               committed
<name>/sparsegate.json     the ModelSpec                    committed
<name>/parity.json         what `model verify` has found    written here, as its model is
<name>/1/model.py          runs the graph in Triton         committed, for python and torch
<name>/1/fused_head.py     what it uses on a GPU,       committed, for torch
<name>/1/recorded_graphs.py                             committed, for torch
<name>/1/model.onnx        the graph and its weights        exported here
<name>/1/model.safetensors the weights once more            exported here, for torch
<name>/tokenizer.json      for the gateway                  exported here
<name>/query_weights.npy   of queries without a model       exported here, for some models
<name>.query/…             the graph of queries, the same   for models that have one of their own
                           but the description and the tokenizer
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sparsegate_server.errors import ModelNotFound, ModelSourceError
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.execution import Execution, Vectors, default_name, export_command
from sparsegate_server.models.export import export_graph, identity_of
from sparsegate_server.models.originals import Originals
from sparsegate_server.models.pull import Pulled, Report, quiet
from sparsegate_server.models.query_table import QUERY_TABLE_FILE, table_bytes
from sparsegate_server.models.recipe import FamilyChoice, recipe_of
from sparsegate_server.models.record import RECORD_FILE, State, record_bytes, state_of
from sparsegate_server.models.spec import (
    QUERY_SUFFIX,
    SPEC_FILE,
    TOKENIZER_FILE,
    ModelSpec,
    Output,
    TritonBackend,
)
from sparsegate_server.models.survey import (
    CONFIG_FILE,
    GRAPH_FILE,
    TORCH_FILE,
    is_exported,
    missing_files,
    served_files,
    survey,
    whole,
)
from sparsegate_server.models.torch_weights import torch_weights
from sparsegate_server.models.triton_config import (
    MAX_BATCH_SIZE,
    check_config,
    config_of,
    write_config,
)
from sparsegate_server.models.verification import Verification, objection

__all__ = [
    "GRAPH_FILE",
    "MAX_BATCH_SIZE",
    "TORCH_FILE",
    "Execution",
    "State",
    "Vectors",
    "export_command",
    "is_exported",
    "missing_files",
    "served_files",
]

logger = logging.getLogger(__name__)

SERVER_FILE = "1/model.py"
FUSED_HEAD_FILE = "1/fused_head.py"
RECORDED_GRAPHS_FILE = "1/recorded_graphs.py"

Gate = Callable[[Path, ModelSpec, Originals], Verification]
"""Judges a model that lies in a repository, by the checkpoints that it was made of. Raises
ModelSourceError where it must not be exported."""

_SERVER_SOURCES: dict[TritonBackend, dict[str, str]] = {
    "python": {SERVER_FILE: "triton_model.py"},
    "torch": {
        SERVER_FILE: "torch_executor.py",
        FUSED_HEAD_FILE: "fused_head.py",
        RECORDED_GRAPHS_FILE: "recorded_graphs.py",
    },
}
"""What Triton's python backend runs, as it is there and here."""
_SERVER_FILES = (FUSED_HEAD_FILE, RECORDED_GRAPHS_FILE, SERVER_FILE)
_MODEL_FILES = (
    CONFIG_FILE,
    GRAPH_FILE,
    TORCH_FILE,
    *_SERVER_FILES,
    TOKENIZER_FILE,
    QUERY_TABLE_FILE,
    RECORD_FILE,
    SPEC_FILE,
)
"""All that a folder can have, its description last."""
_OTHER_REPOSITORY = "name another repository with --repository (models.repository in the settings)"
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
            not go together, the gate has refused, or the folder cannot be written.
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
    for original in filter(None, (originals.documents, originals.queries)):
        if warning := original.checkpoint.warning:
            report(f"WARNING: {original.folder}: {warning}")
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
    with _writing(repository / name):
        if gate is not None and spec.precision != "fp32":
            report(f"Comparing {name} with its checkpoint")
            return _write_through(gate, repository, spec, originals)
        report(f"Writing {repository / name}")
        _write_model(repository / name, spec, documents, queries)
    return spec


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Raises ModelSourceError where the disk or the rights of the user are too small."""
    try:
        yield
    except OSError as error:
        raise ModelSourceError(
            f"{folder.absolute()} cannot be written ({error.strerror}): make room or change its "
            f"rights and export again, or {_OTHER_REPOSITORY}"
        ) from error


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


def current_state(repository: Path, spec: ModelSpec) -> State:
    """What a record of a model is about, as the model's files are now. Raises OSError."""
    return state_of(spec, served_files(repository / spec.name, spec))


def record(
    repository: Path, spec: ModelSpec, verified: Verification, state: State | None = None
) -> ModelSpec:
    """Writes beside a model's description what the parity gate has found.

    Args:
        repository: holds the model.
        spec: the model.
        verified: what was found.
        state: of the files when the comparison began, where they may have changed since: then the
            record is of those, and not of what lies there now.

    Raises:
        OSError: it cannot be written, or a file of the model cannot be read.
    """
    about = current_state(repository, spec) if state is None else state
    _write(repository / spec.name / RECORD_FILE, record_bytes(about, verified))
    return replace(spec, verified=verified)


def _write_model(
    folder: Path, spec: ModelSpec, documents: Checkpoint, queries: Checkpoint | None
) -> None:
    """All files of a model; its description last, so that it stands for the others."""
    (folder / RECORD_FILE).unlink(missing_ok=True)
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
    sources = _SERVER_SOURCES.get(spec.backend, {})
    for file in _SERVER_FILES:
        if file in sources:
            _write(folder / file, Path(__file__).with_name(sources[file]).read_bytes())
        else:
            (folder / file).unlink(missing_ok=True)
    _write(folder / CONFIG_FILE, write_config(config).encode())


def exported(repository: Path) -> list[ModelSpec]:
    """The models of a repository whose files are all there, by name."""
    return list(survey(repository).specs)


def load_specs(repository: Path, names: list[str]) -> list[ModelSpec]:
    """The named models, or all that can be served when no name is given.

    What was exported and cannot be served is left out where nobody has named it, and a warning in
    the log says which model and why.

    Raises:
        ModelNotFound: a named model has no folder.
        ModelSourceError: a named model is not exported, its description does not hold together, or
            nobody has compared it with its checkpoint and it needs that; or none is left.
    """
    repository = repository.absolute()
    if names:
        specs = [load_spec(repository, name) for name in names]
        for spec in specs:
            _check_verified(spec)
        return specs
    return _servable(repository)


def _servable(repository: Path) -> list[ModelSpec]:
    found = survey(repository)
    specs: list[ModelSpec] = []
    unserved = dict(found.broken)
    for spec in found.specs:
        try:
            _check_verified(spec)
            specs.append(spec)
        except ModelSourceError as error:
            unserved[spec.name] = error
    if not specs:
        raise ModelSourceError(_none_left(repository, unserved))
    for name, reason in sorted(unserved.items()):
        # All of it is in the message: not every command has a log that shows the fields.
        logger.warning("model %s is NOT served: %s", name, reason.message, extra={"model": name})
    return specs


def _none_left(repository: Path, unserved: Mapping[str, ModelSourceError]) -> str:
    if unserved:
        reasons = "; ".join(f"{name}: {error.message}" for name, error in sorted(unserved.items()))
        return f"no model in {repository} can be served. {reasons}"
    if not repository.is_dir():
        return f"there is no model repository {repository}: {_OTHER_REPOSITORY}"
    return (
        f"{repository} has no exported model: run `sparsegate-server model export SOURCE`, or "
        f"{_OTHER_REPOSITORY}"
    )


def _check_verified(spec: ModelSpec) -> None:
    if why := objection(spec.name, spec.precision, spec.backend, spec.device, spec.verified):
        raise ModelSourceError(why)


def load_spec(repository: Path, name: str) -> ModelSpec:
    """One exported model, verified or not. Raises as `load_specs` does."""
    repository = repository.absolute()
    folder = repository / name
    if not folder.is_dir():
        raise ModelNotFound(_not_there(repository, name), metadata={"model": name})
    if name.endswith(QUERY_SUFFIX):
        raise ModelSourceError(
            f"{folder} is the query graph of {name.removesuffix(QUERY_SUFFIX)!r}: name that model"
        )
    return whole(folder)


def _not_there(repository: Path, name: str) -> str:
    if not repository.is_dir():
        return f"there is no model repository {repository}, and no {name!r}: {_OTHER_REPOSITORY}"
    known = ", ".join(spec.name for spec in exported(repository)) or "none that is exported"
    return (
        f"{repository} has no model {name!r}; it has {known}, as `sparsegate-server model list` "
        f"shows: export it, or {_OTHER_REPOSITORY}"
    )


def _write(file: Path, content: bytes) -> None:
    """Replaces a file as a whole; a reader sees the old one or the new one."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        scratch.write_bytes(content)
        scratch.replace(file)
    finally:
        scratch.unlink(missing_ok=True)
