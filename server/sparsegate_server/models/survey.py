"""What lies in a model repository: which folders are whole models, and what the others lack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.execution import export_command
from sparsegate_server.models.query_table import QUERY_TABLE_FILE
from sparsegate_server.models.record import read_record
from sparsegate_server.models.spec import SPEC_FILE, TOKENIZER_FILE, ModelSpec

CONFIG_FILE = "config.pbtxt"
GRAPH_FILE = "1/model.onnx"
TORCH_FILE = "1/model.safetensors"


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
    """Those of a model's files that are not there, what tells Triton how to serve it included."""
    files = served_files(folder, spec)
    files += [folder.with_name(name) / CONFIG_FILE for name in spec.served_names]
    return [file for file in files if not file.is_file()]


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies in a model repository.

    Attributes:
        specs: of the models whose files are all there, verified or not, by name.
        broken: what is wrong with each of the others that were exported here, by name. A folder
            that only has what is committed is none of them.
    """

    specs: tuple[ModelSpec, ...]
    broken: Mapping[str, ModelSourceError]


def survey(repository: Path) -> Survey:
    """Looks at every folder; a query graph is no model. Empty where there is no repository."""
    folders = sorted(repository.iterdir()) if repository.is_dir() else []
    specs: list[ModelSpec] = []
    broken: dict[str, ModelSourceError] = {}
    for folder in filter(is_exported, folders):
        try:
            specs.append(whole(folder))
        except ModelSourceError as error:
            broken[folder.name] = error
    return Survey(tuple(specs), broken)


def whole(folder: Path) -> ModelSpec:
    """A model whose files are all there, and what the parity gate found of it.

    Raises:
        ModelSourceError: a file is missing, or the description does not hold together or is of a
            model of another name.
    """
    spec = ModelSpec.load(folder)
    if spec.name != folder.name:
        raise ModelSourceError(
            f"{folder} describes a model of the name {spec.name!r}: rename the folder to that, or "
            f"export the model again with --name {folder.name}"
        )
    missing = missing_files(folder, spec)
    if missing:
        raise ModelSourceError(f"{missing[0]} is missing: run `{export_command(spec)}`")
    return replace(spec, verified=read_record(folder, spec, served_files(folder, spec)))
