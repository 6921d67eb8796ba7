"""Reads what an inference-free model weighs a query's tokens with: one number a token."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.jsonfile import read_object, read_optional
from sparsegate_server.models.layout import Layout
from sparsegate_server.models.vocabulary import Vocabulary, has_tokenizer, read_vocabulary
from sparsegate_server.models.weight_files import Tensor, as_float32, read_tensors, weights_file

IDF_FILE = "idf.json"
TOKEN_WEIGHTS_FILE = "query_token_weights.txt"  # noqa: S105

_STATIC_TENSOR = "weight"
_STATIC_CONFIG = "config.json"


def read_query_weights(layout: Layout, vocabulary: Vocabulary, size: int) -> Tensor | None:
    """float32 [size], zero where a token has none; None where the checkpoint weighs no tokens.

    A SparseStaticEmbedding module comes before `idf.json`, and that before
    `query_token_weights.txt`: the first may have been trained on from the second.

    Raises:
        ModelSourceError: the weights are broken, or of another vocabulary.
    """
    if layout.static is not None and weights_file(layout.static) is not None:
        return _checked(_from_module(layout.static, vocabulary, size), layout.static)
    for file in _files(layout):
        if file.is_file():
            weights = _read_idf(file) if file.suffix == ".json" else _read_lines(file)
            return _checked(_by_token(weights, vocabulary, size, file), file)
    if layout.static is not None:
        raise ModelSourceError(
            f"{layout.static}, the weights of query tokens, has no weights, and there is no "
            f"{IDF_FILE} or {TOKEN_WEIGHTS_FILE} either"
        )
    return None


def _files(layout: Layout) -> list[Path]:
    """Where weights by token may lie, the likeliest first."""
    files = [
        folder / name
        for name in (IDF_FILE, TOKEN_WEIGHTS_FILE)
        for folder in (layout.root, layout.model)
    ]
    if layout.static is None:
        return files
    path = read_optional(layout.static / _STATIC_CONFIG).get("path")
    named = [layout.static / Path(path).name] if isinstance(path, str) else []
    return [*named, layout.static / IDF_FILE, *files]


def _from_module(folder: Path, vocabulary: Vocabulary, size: int) -> Tensor:
    """The weights by id, of a module with the model's own vocabulary."""
    found = read_tensors(folder).get(_STATIC_TENSOR)
    if found is None or found.ndim != 1:
        raise ModelSourceError(f"{folder} has no row of numbers called {_STATIC_TENSOR!r}")
    if has_tokenizer(folder) and read_vocabulary(folder).tokens != vocabulary.tokens:
        raise ModelSourceError(
            f"{folder} weighs the tokens of another vocabulary than the model's: take both from "
            "one checkpoint"
        )
    if np.any(found[size:]):
        raise ModelSourceError(f"{folder} weighs {len(found)} tokens, the model has {size}")
    weights = np.zeros(size, np.float32)
    weights[: len(found)] = as_float32(found)[:size]
    return weights


def _by_token(
    weights: Mapping[str, float], vocabulary: Vocabulary, size: int, file: Path
) -> Tensor:
    known = {vocabulary.tokens[t]: w for t, w in weights.items() if t in vocabulary.tokens}
    # A token that the tokenizer never makes is never looked up; many mean the wrong tokenizer.
    if len(known) * 2 < len(weights):
        strange = next(token for token in weights if token not in vocabulary.tokens)
        raise ModelSourceError(
            f"{file} weighs the tokens of another vocabulary: the model's has {len(known)} of its "
            f"{len(weights)}, and not {strange!r}. Put the file of this tokenizer there; or "
            "take it away, and with --family splade-doc each token weighs 1"
        )
    result = np.zeros(size, np.float32)
    result[list(known.keys())] = list(known.values())
    return result


def _read_idf(file: Path) -> dict[str, float]:
    """{token: weight}"""
    try:
        return {token: float(weight) for token, weight in read_object(file).items()}
    except (TypeError, ValueError) as error:
        raise ModelSourceError(f"{file} is not one number a token: {error}") from error


def _read_lines(file: Path) -> dict[str, float]:
    """A token, a tab, and its weight on every line."""
    try:
        pairs = [line.rsplit("\t", 1) for line in file.read_bytes().decode().split("\n") if line]
        return {token: float(weight) for token, weight in pairs}
    except ValueError as error:
        raise ModelSourceError(f"{file} is not a token and a number a line: {error}") from error


def _checked(weights: Tensor, where: Path) -> Tensor:
    if not np.isfinite(weights).all():
        raise ModelSourceError(f"{where} has a weight that is not a number")
    return weights
