"""DistilBERT and RoBERTa in plain NumPy under their own names, and BERT's names of their tensors.

Written from the papers and from what transformers computes, not from the names that
`models.architectures` knows: whoever mistakes one here and one there is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bert_oracle import HEADS, HIDDEN, LAYERS, Array, attention, gelu

Arrays = dict[str, NDArray[np.float32]]

VOCABULARY, POSITIONS, INNER = 50, 24, 20


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        name: as the checkpoint calls it.
        config: of config.json.
        tensors: random ones, under its own names.
        canonical: BERT's name of each.
        logits: float64 [tokens, vocabulary] of one text.
    """

    name: str
    config: dict[str, Any]
    tensors: Callable[[], Arrays]
    canonical: Mapping[str, str]
    logits: Callable[[Arrays, list[int]], Array]


def _random(shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    random = np.random.default_rng(7)
    return {
        name: random.normal(size=shape, scale=0.5).astype(np.float32)
        for name, shape in shapes.items()
    }


def _dense(name: str, out: int = HIDDEN, into: int = HIDDEN) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (HIDDEN,), f"{name}.bias": (HIDDEN,)}


class _Net:
    """The layers that every architecture is made of."""

    def __init__(self, tensors: Arrays, epsilon: float) -> None:
        self.t = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
        self._epsilon = epsilon

    def dense(self, x: Array, name: str) -> Array:
        return x @ self.t[f"{name}.weight"].T + self.t[f"{name}.bias"]

    def norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        normal = centred / np.sqrt(variance + self._epsilon)
        return normal * self.t[f"{name}.weight"] + self.t[f"{name}.bias"]

    def attend(self, h: Array, *names: str) -> Array:
        parts = (np.split(self.dense(h, name), HEADS, axis=1) for name in names)
        return np.concatenate([attention(*each) for each in zip(*parts, strict=True)], axis=1)


def _distilbert() -> Arrays:
    shapes: dict[str, tuple[int, ...]] = {
        "distilbert.embeddings.word_embeddings.weight": (VOCABULARY, HIDDEN),
        "distilbert.embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        **_norm("distilbert.embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        name = f"distilbert.transformer.layer.{layer}"
        for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
            shapes |= _dense(f"{name}.attention.{part}")
        shapes |= _norm(f"{name}.sa_layer_norm")
        shapes |= _dense(f"{name}.ffn.lin1", INNER, HIDDEN)
        shapes |= _dense(f"{name}.ffn.lin2", HIDDEN, INNER)
        shapes |= _norm(f"{name}.output_layer_norm")
    shapes |= _dense("vocab_transform") | _norm("vocab_layer_norm")
    shapes["vocab_projector.bias"] = (VOCABULARY,)
    return _random(shapes)


def _distilbert_logits(tensors: Arrays, ids: list[int]) -> Array:
    net = _Net(tensors, 1e-12)
    words = net.t["distilbert.embeddings.word_embeddings.weight"]
    h = words[ids] + net.t["distilbert.embeddings.position_embeddings.weight"][: len(ids)]
    h = net.norm(h, "distilbert.embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"distilbert.transformer.layer.{layer}"
        context = net.attend(h, *(f"{name}.attention.{p}_lin" for p in "qkv"))
        h = net.norm(net.dense(context, f"{name}.attention.out_lin") + h, f"{name}.sa_layer_norm")
        inner = gelu(net.dense(h, f"{name}.ffn.lin1"))
        h = net.norm(net.dense(inner, f"{name}.ffn.lin2") + h, f"{name}.output_layer_norm")
    h = net.norm(gelu(net.dense(h, "vocab_transform")), "vocab_layer_norm")
    return h @ net.t.get("vocab_projector.weight", words).T + net.t["vocab_projector.bias"]


def _roberta() -> Arrays:
    shapes: dict[str, tuple[int, ...]] = {
        "roberta.embeddings.word_embeddings.weight": (VOCABULARY, HIDDEN),
        "roberta.embeddings.position_embeddings.weight": (POSITIONS + 2, HIDDEN),
        "roberta.embeddings.token_type_embeddings.weight": (1, HIDDEN),
        **_norm("roberta.embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        name = f"roberta.encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            shapes |= _dense(f"{name}.attention.self.{part}")
        shapes |= _dense(f"{name}.attention.output.dense")
        shapes |= _norm(f"{name}.attention.output.LayerNorm")
        shapes |= _dense(f"{name}.intermediate.dense", INNER, HIDDEN)
        shapes |= _dense(f"{name}.output.dense", HIDDEN, INNER) | _norm(f"{name}.output.LayerNorm")
    shapes |= _dense("lm_head.dense") | _norm("lm_head.layer_norm")
    shapes["lm_head.bias"] = (VOCABULARY,)
    return _random(shapes)


def _roberta_logits(tensors: Arrays, ids: list[int]) -> Array:
    net = _Net(tensors, 1e-5)
    words = net.t["roberta.embeddings.word_embeddings.weight"]
    # fairseq counts positions from the padding token's id, which is 1, and the first is one more.
    places = [1 + count for count in range(1, len(ids) + 1)]
    h = words[ids] + net.t["roberta.embeddings.position_embeddings.weight"][places]
    h = net.norm(
        h + net.t["roberta.embeddings.token_type_embeddings.weight"][0],
        "roberta.embeddings.LayerNorm",
    )
    for layer in range(LAYERS):
        name = f"roberta.encoder.layer.{layer}"
        own = f"{name}.attention.self"
        context = net.attend(h, f"{own}.query", f"{own}.key", f"{own}.value")
        h = net.norm(
            net.dense(context, f"{name}.attention.output.dense") + h,
            f"{name}.attention.output.LayerNorm",
        )
        inner = gelu(net.dense(h, f"{name}.intermediate.dense"))
        h = net.norm(net.dense(inner, f"{name}.output.dense") + h, f"{name}.output.LayerNorm")
    h = net.norm(gelu(net.dense(h, "lm_head.dense")), "lm_head.layer_norm")
    return h @ net.t.get("lm_head.decoder.weight", words).T + net.t["lm_head.bias"]


def _both(ours: str, theirs: str) -> dict[str, str]:
    return {f"{theirs}.{kind}": f"{ours}.{kind}" for kind in ("weight", "bias")}


def _distilbert_names() -> dict[str, str]:
    names = {
        "distilbert.embeddings.word_embeddings.weight": "bert.embeddings.word_embeddings.weight",
        "distilbert.embeddings.position_embeddings.weight": (
            "bert.embeddings.position_embeddings.weight"
        ),
        **_both("bert.embeddings.LayerNorm", "distilbert.embeddings.LayerNorm"),
        **_both("cls.predictions.transform.dense", "vocab_transform"),
        **_both("cls.predictions.transform.LayerNorm", "vocab_layer_norm"),
        "vocab_projector.bias": "cls.predictions.bias",
    }
    for layer in range(LAYERS):
        ours, theirs = f"bert.encoder.layer.{layer}", f"distilbert.transformer.layer.{layer}"
        names |= _both(f"{ours}.attention.self.query", f"{theirs}.attention.q_lin")
        names |= _both(f"{ours}.attention.self.key", f"{theirs}.attention.k_lin")
        names |= _both(f"{ours}.attention.self.value", f"{theirs}.attention.v_lin")
        names |= _both(f"{ours}.attention.output.dense", f"{theirs}.attention.out_lin")
        names |= _both(f"{ours}.attention.output.LayerNorm", f"{theirs}.sa_layer_norm")
        names |= _both(f"{ours}.intermediate.dense", f"{theirs}.ffn.lin1")
        names |= _both(f"{ours}.output.dense", f"{theirs}.ffn.lin2")
        names |= _both(f"{ours}.output.LayerNorm", f"{theirs}.output_layer_norm")
    return names


def _roberta_names() -> dict[str, str]:
    names = {
        "lm_head.bias": "cls.predictions.bias",
        **_both("cls.predictions.transform.dense", "lm_head.dense"),
        **_both("cls.predictions.transform.LayerNorm", "lm_head.layer_norm"),
    }
    encoder = [name for name in _roberta() if name.startswith("roberta.")]
    return names | {name: f"bert.{name.removeprefix('roberta.')}" for name in encoder}


DISTILBERT = Family(
    "DistilBERT",
    {"model_type": "distilbert", "activation": "gelu", "n_heads": HEADS, "n_layers": LAYERS},
    _distilbert,
    _distilbert_names(),
    _distilbert_logits,
)
ROBERTA = Family(
    "RoBERTa",
    {
        "model_type": "roberta",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "num_attention_heads": HEADS,
        "pad_token_id": 1,
    },
    _roberta,
    _roberta_names(),
    _roberta_logits,
)
