"""Where a checkpoint's parts lie in its folder: flat, or as sentence-transformers saves modules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.jsonfile import read_json, read_object
from sparsegate_server.models.vocabulary import check_tokenizer
from sparsegate_server.models.weight_files import WEIGHT_FILES, weights_file

MODULES_FILE = "modules.json"
ROUTER_FILE = "router_config.json"

_MODELS = ("MLMTransformer", "Transformer")
_STATIC = ("SparseStaticEmbedding", "IDF")
_POOLING = ("SpladePooling",)
_ROUTERS = ("Router", "Asym")


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one checkpoint's parts.

    Attributes:
        root: the checkpoint's folder.
        model: the encoder of documents, and of queries where they have none of their own.
        query_model: the encoder of queries, where it is another one.
        static: what queries are weighed with, token by token, where they need no encoder.
        pooling: says how documents' logits become terms, where the checkpoint says it.
        query_pooling: the same of queries with an encoder of their own.
    """

    root: Path
    model: Path
    query_model: Path | None = None
    static: Path | None = None
    pooling: Path | None = None
    query_pooling: Path | None = None


def find_layout(root: Path) -> Layout:
    """Reads `modules.json` and `router_config.json` where a folder has them.

    Raises:
        ModelSourceError: no weights lie where they should, or the modules are of another kind.
    """
    documents, queries = _routes(root)
    model = _first(documents, _MODELS) or root
    if weights_file(model) is None:
        raise ModelSourceError(
            f"{model} has no weights: a model needs one of {', '.join(WEIGHT_FILES)}"
        )
    query_model = _first(queries, _MODELS)
    if query_model is not None and weights_file(query_model) is None:
        raise ModelSourceError(
            f"{query_model}, the encoder of queries, has no weights: none of "
            f"{', '.join(WEIGHT_FILES)}"
        )
    return Layout(
        root=root,
        model=model,
        query_model=None if query_model == model else query_model,
        static=_first(queries, _STATIC),
        pooling=_first(documents, _POOLING),
        query_pooling=_first(queries, _POOLING),
    )


def check_files(root: Path) -> None:
    """Raises ModelSourceError, with the files that were looked for, when a part is missing."""
    layout = find_layout(root)
    for model in (layout.model, layout.query_model):
        if model is not None:
            check_tokenizer((model, root))


_Route = list[tuple[str, Path]]
"""Type and folder of each module that a text passes."""


def _routes(root: Path) -> tuple[_Route, _Route]:
    """The modules that documents pass, and those that queries pass."""
    file = root / MODULES_FILE
    if not file.is_file():
        return [], []
    modules = read_json(file)
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise ModelSourceError(f"{file} is not a list of modules")
    documents: _Route = []
    queries: _Route = []
    for module in modules:
        kind, folder = _kind(module.get("type"), file), _inside(root, module.get("path", ""), file)
        if kind in _ROUTERS:
            routes = _router(folder)
            documents += routes[0]
            queries += routes[1]
        else:
            documents.append((kind, folder))
            queries.append((kind, folder))
    return documents, queries


def _router(folder: Path) -> tuple[_Route, _Route]:
    file = folder / ROUTER_FILE
    config = read_object(file)
    types, structure = config.get("types"), config.get("structure")
    if not isinstance(types, dict) or not isinstance(structure, dict):
        raise ModelSourceError(f"{file} has no types and structure of modules")

    def route(name: str) -> _Route:
        modules = structure.get(name)
        if not isinstance(modules, list):
            raise ModelSourceError(f"{file} has no route {name!r}: it needs query and document")
        return [(_kind(types.get(m), file), _inside(folder, m, file)) for m in modules]

    return route("document"), route("query")


def _kind(type_name: Any, file: Path) -> str:
    kind = str(type_name).rsplit(".", 1)[-1]
    if kind not in (*_MODELS, *_STATIC, *_POOLING, *_ROUTERS):
        raise ModelSourceError(f"{file}: a module of type {type_name!r} is not supported")
    return kind


def _inside(root: Path, path: Any, file: Path) -> Path:
    """A module's folder; names that lead out of the checkpoint's are refused."""
    if not isinstance(path, str) or path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise ModelSourceError(f"{file}: {path!r} is no folder of the checkpoint")
    return root / path


def _first(route: _Route, kinds: tuple[str, ...]) -> Path | None:
    return next((folder for kind, folder in route if kind in kinds), None)
