"""Reads a checkpoint of a sparse encoder, BERT or one of its shape, into one canonical form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.architectures import (
    DECODER,
    DECODER_BIAS,
    POSITIONS,
    TOKEN_TYPES,
    WORDS,
    Architecture,
    Source,
    canonical,
    identify,
)
from sparsegate_server.models.jsonfile import read_optional
from sparsegate_server.models.layout import Layout, find_layout
from sparsegate_server.models.query_weights import read_query_weights
from sparsegate_server.models.vocabulary import Vocabulary, check_tokenizer, read_vocabulary
from sparsegate_server.models.weight_files import Tensor, read_tensors

__all__ = ["CONFIG_FILE", "BertShape", "Checkpoint", "Pooling", "Tensor"]

CONFIG_FILE = "config.json"

_HEAD_SIZE = 64
"""Every BERT that Google published has heads of this size, bert-tiny too."""
_KNOWN_WIDTHS = (128, 256, 512, 768, 1024)
"""Theirs; of another width, nobody can tell the number of heads."""
_STRATEGIES = ("max", "sum")
_ACTIVATIONS = ("relu", "log1p_relu")
_ROUNDING = 0.01
"""Share of the embeddings that may have no token, with the usual rounding to 8, 64 or 128."""


@dataclass(frozen=True, slots=True)
class BertShape:
    """Sizes of a BERT encoder.

    Attributes:
        layers: number of encoder layers.
        heads: attention heads of a layer.
        hidden: width of a token's state.
        vocabulary_size: number of wordpieces.
        positions: longest text in tokens.
        epsilon: added to the variance in every layer normalisation.
    """

    layers: int
    heads: int
    hidden: int
    vocabulary_size: int
    positions: int
    epsilon: float

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads


@dataclass(frozen=True, slots=True)
class Pooling:
    """How logits become a term's weight, as a sentence-transformers checkpoint says it.

    Attributes:
        strategy: how token positions are joined.
        activation: before log(1 + x): `relu`, or `log1p_relu`, which is log(1 + relu(x)).
    """

    strategy: Literal["max", "sum"] = "max"
    activation: Literal["relu", "log1p_relu"] = "relu"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A masked-language model as it was trained, whatever architecture its files name.

    Attributes:
        tensors: float32 arrays under the names that Hugging Face gives BERT's. The decoder's
            weight is there only where it is not the word embeddings.
        shape: the encoder's sizes.
        tokenizer: the bytes of tokenizer.json.
        special_ids: tokens that stand for no text, ascending.
        query_weights: float32 [vocabulary], what a query's tokens weigh without a model; None
            where the checkpoint has no such weights.
        pooling: how logits become weights; None where the checkpoint does not say.
        architecture: what its files call it: BERT, DistilBERT or RoBERTa.
        unused_rows: embeddings beyond the last token, which were cut off.
    """

    tensors: Mapping[str, Tensor]
    shape: BertShape
    tokenizer: bytes
    special_ids: tuple[int, ...] = ()
    query_weights: Tensor | None = None
    pooling: Pooling | None = None
    architecture: str = "BERT"
    unused_rows: int = 0

    @property
    def warning(self) -> str:
        """What makes it likely that the files are not of one checkpoint; empty where nothing does.

        Rows that only round the number of embeddings up, to a multiple of 128 at most, are few.
        """
        tokens = self.shape.vocabulary_size
        rows = tokens + self.unused_rows
        if self.unused_rows <= _ROUNDING * rows:
            return ""
        return (
            f"the tokenizer has {tokens:,} tokens, the model {rows:,} embeddings, of which the "
            f"last {self.unused_rows:,} are left out. If the tokenizer is not the one that the "
            "model was trained with, its vectors mean nothing: put the right one beside the "
            "weights and export again"
        )

    @property
    def parameters(self) -> int:
        """Number of weights; the zeros that stand for DistilBERT's token types are none."""
        stand_in = TOKEN_TYPES if self.architecture == "DistilBERT" else None
        return sum(tensor.size for name, tensor in self.tensors.items() if name != stand_in)

    @property
    def weights_sha256(self) -> str:
        """Over the sizes and, by ascending name, every tensor's name, shape and bytes.

        The sizes are in it because two numbers of heads make two models from the same tensors.
        Equal models have equal sums, whichever files and names they were saved with.
        """
        digest = hashlib.sha256(json.dumps(asdict(self.shape), sort_keys=True).encode())
        named = {_summed_name(name): tensor for name, tensor in self.tensors.items()}
        for name in sorted(named):
            tensor = named[name]
            digest.update(f"\n{name} {tensor.shape}\n".encode())
            digest.update(np.ascontiguousarray(tensor, "<f4").tobytes())
        return digest.hexdigest()

    @property
    def tokenizer_sha256(self) -> str:
        return hashlib.sha256(self.tokenizer).hexdigest()

    @classmethod
    def load(cls, folder: Path) -> Checkpoint:
        """Reads the encoder of documents, and of queries too unless `load_query` finds another.

        The weights are safetensors or PyTorch's, whole or in shards; the tokenizer is
        tokenizer.json, or is made from vocab.txt, or vocab.json and merges.txt; they lie in the
        folder, or where `modules.json` says. Rows that pad the vocabulary are cut off, so that
        every term has a token.

        Raises:
            ModelSourceError: a file is missing or not understood, or it is no BERT, DistilBERT or
                RoBERTa with a masked-language-model head.
        """
        layout = find_layout(folder)
        return _load(layout, layout.model, layout.pooling)

    @classmethod
    def load_query(cls, folder: Path) -> Checkpoint | None:
        """Reads the encoder that only queries have, as Efficient SPLADE's; None without one.

        Raises:
            ModelSourceError: as `load`, or its vocabulary is not the documents'.
        """
        layout = find_layout(folder)
        if layout.query_model is None:
            return None
        query = _load(layout, layout.query_model, layout.query_pooling)
        ours = Vocabulary.parse(query.tokenizer, layout.query_model).tokens
        if ours != _vocabulary(layout, layout.model).tokens:
            raise ModelSourceError(
                f"{layout.query_model} and {layout.model} have different vocabularies: queries "
                "and documents would not share terms"
            )
        return query


def _load(layout: Layout, folder: Path, pooling: Path | None) -> Checkpoint:
    """One encoder's; its errors name the folder, as a model may be made of two checkpoints."""
    try:
        return _read(layout, folder, pooling)
    except ModelSourceError as error:
        if str(folder) in error.message:
            raise
        raise ModelSourceError(f"{folder}: {error.message}") from error


def _read(layout: Layout, folder: Path, pooling: Path | None) -> Checkpoint:
    config = read_optional(folder / CONFIG_FILE)
    source = identify(read_tensors(folder), config)
    _check_config(config, source, folder / CONFIG_FILE)
    vocabulary = _vocabulary(layout, folder)
    tensors = canonical(source, source.architecture.first_position(config))
    unused_rows = _cut_vocabulary(tensors, vocabulary)
    _check_finite(tensors)
    shape = _shape(tensors, config, source)
    return Checkpoint(
        tensors,
        shape,
        vocabulary.content,
        vocabulary.special_ids,
        read_query_weights(layout, vocabulary, shape.vocabulary_size),
        None if pooling is None else _pooling(pooling),
        source.architecture.name,
        unused_rows,
    )


def _vocabulary(layout: Layout, folder: Path) -> Vocabulary:
    return read_vocabulary(check_tokenizer((folder, layout.root)))


def _check_config(config: Mapping[str, Any], source: Source, file: Path) -> None:
    """Another activation or position scheme would give a graph that runs and is wrong."""
    known = {
        source.architecture.activation_key: "gelu",
        "position_embedding_type": "absolute",
        "is_decoder": False,
        source.architecture.layers_key: source.layers,
    }
    for key, value in known.items():
        if config.get(key, value) != value:
            raise ModelSourceError(
                f"{file}: {key} {config[key]!r} is not supported, only {value!r}: a graph with "
                "another one would run and give wrong vectors. Take another checkpoint; or, if the "
                "model was trained otherwise than the file says, correct the file"
            )


def _cut_vocabulary(tensors: dict[str, Tensor], vocabulary: Vocabulary) -> int:
    """Cuts off the rows beyond the last token, which only round the embeddings' size up, as a rule.

    Returns:
        How many they are.
    """
    rows = len(tensors[WORDS])
    if not 0 < vocabulary.size <= rows:
        raise ModelSourceError(
            f"the tokenizer has ids up to {vocabulary.size - 1}, the model has {rows} embeddings: "
            "they are not of one checkpoint: put the tokenizer that the model was trained with "
            "beside its weights"
        )
    for name in (WORDS, DECODER, DECODER_BIAS):
        if name in tensors:
            tensors[name] = tensors[name][: vocabulary.size]
    return rows - vocabulary.size


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    """One such number in an encoder makes every vector useless."""
    for name, tensor in tensors.items():
        if count := tensor.size - np.count_nonzero(np.isfinite(tensor)):
            raise ModelSourceError(
                f"the tensor {name} has {count} numbers that are NaN or infinite: its training has "
                "diverged, or the file is damaged. Fetch it again, or take another checkpoint"
            )


def _shape(tensors: Mapping[str, Tensor], config: Mapping[str, Any], source: Source) -> BertShape:
    """The sizes that the tensors show; config.json, or BERT's own default, says the others."""
    vocabulary_size, hidden = tensors[WORDS].shape
    positions = len(tensors[POSITIONS])
    if source.architecture.heads_key not in config and hidden not in _KNOWN_WIDTHS:
        raise ModelSourceError(
            f"the checkpoint has no config.json that says {source.architecture.heads_key}, and its "
            f"tensors of width {hidden} do not tell: put its config.json beside its weights"
        )
    heads = _number(config, source.architecture, max(1, hidden // _HEAD_SIZE))
    if not positions or hidden % heads:
        raise ModelSourceError(
            f"the checkpoint's sizes do not fit together: {positions} positions, "
            f"hidden {hidden}, heads {heads}"
        )
    return BertShape(
        layers=source.layers,
        heads=heads,
        hidden=hidden,
        vocabulary_size=vocabulary_size,
        positions=positions,
        epsilon=_epsilon(config),
    )


def _number(config: Mapping[str, Any], architecture: Architecture, default: int) -> int:
    heads = config.get(architecture.heads_key, default)
    if type(heads) is not int or heads < 1:
        raise ModelSourceError(f"config.json: {architecture.heads_key} {heads!r} is no number")
    return heads


def _epsilon(config: Mapping[str, Any]) -> float:
    epsilon = config.get("layer_norm_eps", 1e-12)
    if not isinstance(epsilon, (int, float)) or not 0 <= epsilon < 1:
        raise ModelSourceError(f"config.json: layer_norm_eps {epsilon!r} is no small number")
    return float(epsilon)


def _pooling(folder: Path) -> Pooling:
    config = read_optional(folder / CONFIG_FILE)
    strategy = config.get("pooling_strategy", "max")
    activation = config.get("activation_function", "relu")
    if strategy not in _STRATEGIES or activation not in _ACTIVATIONS:
        raise ModelSourceError(
            f"{folder / CONFIG_FILE}: pooling {strategy!r} of {activation!r} is not supported, "
            f"only {' and '.join(_STRATEGIES)} of {' and '.join(_ACTIVATIONS)}: take a checkpoint "
            "that was trained with one of these"
        )
    return Pooling(cast(Any, strategy), cast(Any, activation))


def _summed_name(name: str) -> str:
    """The first models were summed with TensorFlow's names of a layer normalisation's tensors."""
    stem, _, kind = name.rpartition("LayerNorm.")
    return f"{stem}LayerNorm.{'gamma' if kind == 'weight' else 'beta'}" if stem else name
