"""The encoders that are BERT under other names, and their tensors under BERT's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.weight_files import Tensor, as_float32

WORDS = "bert.embeddings.word_embeddings.weight"
POSITIONS = "bert.embeddings.position_embeddings.weight"
TOKEN_TYPES = "bert.embeddings.token_type_embeddings.weight"  # noqa: S105
DECODER = "cls.predictions.decoder.weight"
DECODER_BIAS = "cls.predictions.bias"

_HEAD = "cls.predictions.transform"
_LAYER = "bert.encoder.layer."


@dataclass(frozen=True, slots=True)
class Architecture:
    """One way to write BERT.

    Attributes:
        name: for people.
        model_types: what config.json calls it.
        base: its prefix of the encoder's tensors.
        renames: how BERT's names become its own: each pair is replaced, in this order.
        activation_key, heads_key, layers_key: its names in config.json.
        has_token_types: whether texts' segments are embedded.
        counts_padding: whether positions are counted from behind the padding token's id, as
            fairseq does, so that the first rows of the position embeddings are never used.
    """

    name: str
    model_types: tuple[str, ...]
    base: str
    renames: tuple[tuple[str, str], ...]
    activation_key: str = "hidden_act"
    heads_key: str = "num_attention_heads"
    layers_key: str = "num_hidden_layers"
    has_token_types: bool = True
    counts_padding: bool = False

    def own_name(self, name: str) -> str:
        """What this architecture calls a tensor of BERT."""
        for ours, theirs in self.renames:
            name = name.replace(ours, theirs)
        return name

    def first_position(self, config: Mapping[str, Any]) -> int:
        """The row of the position embeddings that a text's first token takes."""
        if not self.counts_padding:
            return 0
        padding = config.get("pad_token_id", 1)
        if not isinstance(padding, int) or padding < 0:
            raise ModelSourceError(f"config.json: pad_token_id {padding!r} is no token id")
        return padding + 1


ARCHITECTURES = (
    Architecture("BERT", ("bert",), "bert", ()),
    Architecture(
        "DistilBERT",
        ("distilbert",),
        "distilbert",
        (
            ("bert.encoder.layer.", "distilbert.transformer.layer."),
            ("bert.embeddings.", "distilbert.embeddings."),
            (".attention.self.query.", ".attention.q_lin."),
            (".attention.self.key.", ".attention.k_lin."),
            (".attention.self.value.", ".attention.v_lin."),
            (".attention.output.dense.", ".attention.out_lin."),
            (".attention.output.LayerNorm.", ".sa_layer_norm."),
            (".intermediate.dense.", ".ffn.lin1."),
            (".output.dense.", ".ffn.lin2."),
            (".output.LayerNorm.", ".output_layer_norm."),
            ("cls.predictions.transform.dense.", "vocab_transform."),
            ("cls.predictions.transform.LayerNorm.", "vocab_layer_norm."),
            ("cls.predictions.decoder.", "vocab_projector."),
            ("cls.predictions.bias", "vocab_projector.bias"),
        ),
        activation_key="activation",
        heads_key="n_heads",
        layers_key="n_layers",
        has_token_types=False,
    ),
    Architecture(
        "RoBERTa",
        ("roberta", "xlm-roberta", "camembert"),
        "roberta",
        (
            ("bert.", "roberta."),
            ("cls.predictions.transform.dense.", "lm_head.dense."),
            ("cls.predictions.transform.LayerNorm.", "lm_head.layer_norm."),
            ("cls.predictions.decoder.", "lm_head.decoder."),
            ("cls.predictions.bias", "lm_head.bias"),
        ),
        counts_padding=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint's tensors as its files name them, and which architecture they are of.

    Attributes:
        tensors: by name, in the precision of the files.
        architecture: whose names they are.
        prefix: what wrapping modules put before every name, often nothing.
        layers: number of encoder layers.
    """

    tensors: Mapping[str, NDArray[Any]]
    architecture: Architecture
    prefix: str
    layers: int

    def find(self, name: str) -> NDArray[Any] | None:
        """The tensor that BERT calls `name`, or None."""
        own = self.prefix + self.architecture.own_name(name)
        return self.tensors.get(own, self.tensors.get(_old_name(own)))

    def take(self, name: str) -> NDArray[Any]:
        """As `find`; raises ModelSourceError with the checkpoint's own name where there is none."""
        tensor = self.find(name)
        if tensor is None:
            own = self.architecture.own_name(name)
            what = "masked-language-model head" if name.startswith(_HEAD) else "encoder"
            raise ModelSourceError(
                f"the checkpoint has no tensor {own}: it is no {self.architecture.name} with a "
                f"whole {what}"
            )
        return tensor


def identify(tensors: Mapping[str, NDArray[Any]], config: Mapping[str, Any]) -> Source:
    """Finds the encoder among the tensors, behind whatever prefix they were saved with.

    Raises:
        ModelSourceError: it is of no architecture known here, or there are several.
    """
    found = [
        (architecture, name.removesuffix(_anchor(architecture)))
        for architecture in ARCHITECTURES
        for name in tensors
        if _has_anchor(name, architecture)
    ]
    model_type = config.get("model_type")
    known = ", ".join(a.name for a in ARCHITECTURES)
    if not found:
        raise ModelSourceError(
            f"the checkpoint has no tensor {WORDS}, nor that of another architecture ({known}): "
            f"it is no such model with a masked-language-model head (model type {model_type!r}): "
            "take one that was saved with its head, as AutoModelForMaskedLM saves it"
        )
    if len(found) > 1:
        prefixes = ", ".join(sorted(repr(prefix + a.base) for a, prefix in found))
        raise ModelSourceError(
            f"the checkpoint holds several encoders, {prefixes}: save each to a folder of its own"
        )
    architecture, prefix = found[0]
    if model_type is not None and model_type not in architecture.model_types:
        raise ModelSourceError(
            f"config.json: model_type {model_type!r} is not supported, only {known}"
        )
    return Source(tensors, architecture, prefix, _layers(tensors, architecture, prefix))


def canonical(source: Source, first_position: int) -> dict[str, Tensor]:
    """Every tensor that a graph needs, float32, under BERT's names and in their modern spelling.

    A decoder that repeats the word embeddings is left out, and the position embeddings begin with
    the first token's. An architecture without token types gets one of zeros.

    Raises:
        ModelSourceError: a tensor is missing, or the sizes do not fit together.
    """
    names = list(_required(source.layers))
    if source.architecture.has_token_types:
        names.append(TOKEN_TYPES)
    tensors = {name: as_float32(source.take(name)) for name in names}
    words = tensors[WORDS]
    _check_shapes(tensors, source)
    tensors.setdefault(TOKEN_TYPES, np.zeros((1, words.shape[1]), np.float32))
    tensors[POSITIONS] = tensors[POSITIONS][first_position:]
    decoder = _decoder(source, words)
    if decoder is not None:
        tensors[DECODER] = decoder
    tensors[DECODER_BIAS] = _decoder_bias(source, len(words))
    return tensors


def _check_shapes(tensors: Mapping[str, Tensor], source: Source) -> None:
    """Every table and layer is as wide as the word embeddings; only the inner layer is wider."""
    hidden = tensors["bert.embeddings.LayerNorm.weight"].size
    inner = tensors[f"{_LAYER}0.intermediate.dense.bias"].size
    for name, tensor in tensors.items():
        rows = inner if ".intermediate." in name else hidden
        columns = inner if re.search(r"\d\.output\.dense\.weight$", name) else hidden
        if name.endswith("embeddings.weight"):
            rows = max(1, tensor.shape[0] if tensor.ndim else 0)
        flat = name.endswith(".bias") or ".LayerNorm." in name
        wanted = (rows,) if flat else (rows, columns)
        if tensor.shape != wanted:
            raise ModelSourceError(
                f"the checkpoint's sizes do not fit together: {source.architecture.own_name(name)} "
                f"is {tensor.shape}, not {wanted}"
            )


def _decoder(source: Source, words: Tensor) -> Tensor | None:
    """The decoder's own weight, or None where it is tied to the word embeddings."""
    own = source.find(DECODER)
    if own is None:
        return None
    decoder = as_float32(own)
    if decoder.shape != words.shape:
        raise ModelSourceError(
            f"the checkpoint's sizes do not fit together: the decoder is {decoder.shape}, the word "
            f"embeddings are {words.shape}"
        )
    return None if np.array_equal(decoder, words) else decoder


def _decoder_bias(source: Source, vocabulary_size: int) -> Tensor:
    """Two names are met for it, often both. Transformers fills and cuts it to the embeddings' size,
    and makes it of zeros where there is none; so does this."""
    found = [source.find(n) for n in (DECODER_BIAS, "cls.predictions.decoder.bias")]
    biases = [as_float32(bias) for bias in found if bias is not None]
    if len(biases) == 2 and not np.array_equal(biases[0], biases[1]):
        raise ModelSourceError("the checkpoint has two decoder biases that differ")
    whole = np.zeros(vocabulary_size, np.float32)
    if biases and biases[0].ndim != 1:
        raise ModelSourceError(f"the decoder's bias is of shape {biases[0].shape}, not one row")
    if biases:
        size = min(vocabulary_size, len(biases[0]))
        whole[:size] = biases[0][:size]
    return whole


def _required(layers: int) -> list[str]:
    """Names of all tensors with one spelling and one shape in every architecture."""
    parts = ["bert.embeddings.LayerNorm", f"{_HEAD}.dense", f"{_HEAD}.LayerNorm"]
    for layer in range(layers):
        name = f"{_LAYER}{layer}"
        parts += [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        parts += [f"{name}.attention.output.dense", f"{name}.attention.output.LayerNorm"]
        parts += [f"{name}.intermediate.dense", f"{name}.output.dense", f"{name}.output.LayerNorm"]
    return [WORDS, POSITIONS, *(f"{p}.{kind}" for p in parts for kind in ("weight", "bias"))]


def _layers(tensors: Mapping[str, NDArray[Any]], architecture: Architecture, prefix: str) -> int:
    start = re.escape(prefix + architecture.own_name(_LAYER))
    numbers = {int(m[1]) for m in (re.match(rf"{start}(\d{{1,4}})\.", n) for n in tensors) if m}
    if not numbers or numbers != set(range(len(numbers))):
        raise ModelSourceError(
            f"the checkpoint's sizes do not fit together: its layers are {sorted(numbers)}"
        )
    return len(numbers)


def _anchor(architecture: Architecture) -> str:
    return architecture.own_name(WORDS)


def _has_anchor(name: str, architecture: Architecture) -> bool:
    """Whether this is the architecture's word embeddings; `distilbert.…` is none of BERT's."""
    anchor = _anchor(architecture)
    return name == anchor or name.endswith(f".{anchor}")


def _old_name(name: str) -> str:
    """Checkpoints that came from TensorFlow call a layer normalisation's two gamma and beta."""
    return re.sub(
        r"(LayerNorm|layer_norm)\.(weight|bias)$",
        lambda m: f"{m[1]}.{'gamma' if m[2] == 'weight' else 'beta'}",
        name,
    )
