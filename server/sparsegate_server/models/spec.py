"""What a model is: its identity, which collections hold, and its execution, which may vary."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.verification import Verification

Family = Literal["splade", "splade-doc"]
"""`splade-doc`: documents as SPLADE's, queries without a model, from their tokens alone."""
Pooling = Literal["max", "sum"]
Activation = Literal["log1p", "log1p-twice"]
"""log(1 + relu(logit)), or log(1 + log(1 + relu(logit))), which OpenSearch's third generation of
document models was trained with."""
Queries = Literal["documents", "graph", "tokens"]
"""What encodes a query: the documents' graph, a graph of its own, or a table of token weights."""
Output = Literal["terms", "pooled", "logits"]
"""`terms`: the graph pools and keeps the terms itself; `pooled`: every term's weight; `logits`:
the gateway pools and sparsifies."""
Precision = Literal["fp32", "fp16", "int8"]
TritonBackend = Literal["python", "torch", "onnxruntime", "tensorrt"]
"""What runs the graph in Triton: `python` and `torch` are both code in Triton's python backend,
the one with onnxruntime and the other with PyTorch; the others are of NVIDIA's image."""
Device = Literal["cpu", "gpu"]

SPEC_FILE = "sparsegate.json"
TOKENIZER_FILE = "tokenizer.json"
QUERY_SUFFIX = ".query"
"""Of the served name of a query graph. Triton wants flat folders, so it stands beside the model."""

LENGTH_BUCKETS = (8, 16, 24, *range(32, 513, 32))
"""Lengths that requests are padded to: an inference server batches only equal shapes. Measured
waste: 4 % on SciFact and 8 % on Cranfield; eleven of them waste 9 % and 14 %, the six powers of two
33 % and 42 %. Below 32 they are closer, because questions are short and wait for nothing else."""

_ALWAYS_WRITTEN = frozenset(
    [
        "family",
        "weights_sha256",
        "tokenizer_sha256",
        "vocabulary_size",
        "pooling",
        "max_length",
        "max_terms",
        "threshold",
    ]
)
"""Fields of the first identities. Later ones are written only where they say something, so that
the fingerprint of a model that needs none of them stays as it was."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which two identities differ."""

    field: str
    own: object
    other: object

    def __str__(self) -> str:
        return f"{self.field} {self.own!r} against {self.other!r}"


@dataclass(frozen=True)
class ModelIdentity:
    """All that decides a vector's values. Two models with one fingerprint make the same vectors.

    Attributes:
        family: how logits become terms.
        weights_sha256: of the checkpoint's tensors, as hex.
        tokenizer_sha256: of the tokenizer file, as hex.
        vocabulary_size: number of terms.
        pooling: how token positions are joined.
        max_length: most tokens of one text, special tokens included.
        max_terms: most terms of one vector; a vector that reaches past it is flagged as capped.
        threshold: weights at or below it are dropped.
        activation: what a logit goes through before it is a weight.
        dropped_terms: ascending ids of terms that no vector has, such as the special tokens'.
        query_weights_sha256: of the tensors of the checkpoint that encodes queries, as hex; empty
            when queries take the documents' graph or none.
        idf_sha256: of the weights that a query's tokens have, as hex; empty when there are none
            and each token weighs 1.

    Raises:
        ValueError: the fields contradict each other.
    """

    family: Family
    weights_sha256: str
    tokenizer_sha256: str
    vocabulary_size: int
    pooling: Pooling = "max"
    max_length: int = 512
    max_terms: int = 1024
    threshold: float = 0.0
    activation: Activation = "log1p"
    dropped_terms: tuple[int, ...] = ()
    query_weights_sha256: str = ""
    idf_sha256: str = ""

    def __post_init__(self) -> None:
        if self.family == "splade-doc" and self.query_weights_sha256:
            raise ValueError("splade-doc encodes queries without a graph")
        if self.family != "splade-doc" and self.idf_sha256:
            raise ValueError("only splade-doc weighs the tokens of a query by a table")

    @property
    def queries(self) -> Queries:
        """What encodes a query."""
        if self.family == "splade-doc":
            return "tokens"
        return "graph" if self.query_weights_sha256 else "documents"

    @cached_property
    def fingerprint(self) -> str:
        """128 bits of SHA-256 over the identity in canonical JSON, as 32 hex digits."""
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]

    def as_dict(self) -> dict[str, Any]:
        """The fields for JSON, without those that later versions added and that say nothing."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            field.name: values[field.name]
            for field in fields(self)
            if field.name in _ALWAYS_WRITTEN or values[field.name] != field.default
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ModelIdentity:
        """What `as_dict` gave. Raises TypeError and ValueError."""
        return cls(**{**raw, "dropped_terms": tuple(raw.get("dropped_terms", ()))})

    def differences(self, other: ModelIdentity) -> tuple[Difference, ...]:
        """The fields in which another identity differs, in the order of the fields."""
        pairs = (
            Difference(field.name, getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)
        )
        return tuple(pair for pair in pairs if pair.own != pair.other)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One exported model, as a folder of the model repository describes it.

    Attributes:
        name: folder and served name.
        identity: what its vectors depend on.
        output: what the graph returns.
        precision: of the graph's weights and products.
        backend: what runs the graph in Triton.
        device: where Triton runs it.
        positions: whether each term comes with the token position that caused it.
        description: one line for people.
        source: where the checkpoint came from.
        query_source: where the queries' checkpoint came from, if they have one of their own.
        parameters: number of weights.
        verified: what the parity gate found; None where it has not passed it. float32 is served
            without it.
    """

    name: str
    identity: ModelIdentity
    output: Output = "terms"
    precision: Precision = "fp32"
    backend: TritonBackend = "python"
    device: Device = "cpu"
    positions: bool = False
    description: str = ""
    source: str = ""
    query_source: str = ""
    parameters: int = 0
    verified: Verification | None = None

    @property
    def fingerprint(self) -> str:
        return self.identity.fingerprint

    @property
    def length_buckets(self) -> tuple[int, ...]:
        """Ascending padded lengths, the last of them the model's maximum."""
        longest = self.identity.max_length
        return (*(b for b in LENGTH_BUCKETS if b < longest), longest)

    @property
    def for_queries(self) -> ModelSpec | None:
        """The spec to hand to an inference backend with a query.

        It is this one, or one with the served name of the query graph, or None where a query
        needs no graph: then `encoders.sparsify.idf_query` makes its vector.
        """
        if self.identity.queries == "tokens":
            return None
        return replace(self, name=self.served_names[-1])

    @property
    def served_names(self) -> tuple[str, ...]:
        """Names of the graphs that an inference server must load, the documents' first."""
        if self.identity.queries == "graph" and not self.name.endswith(QUERY_SUFFIX):
            return (self.name, self.name + QUERY_SUFFIX)
        return (self.name,)

    def to_json(self) -> str:
        raw = {
            **asdict(self),
            "identity": self.identity.as_dict(),
            "fingerprint": self.fingerprint,
        }
        if not self.query_source:
            del raw["query_source"]
        # It is of the folder, and lies beside this file (`models.record`).
        del raw["verified"]
        return json.dumps(raw, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = SPEC_FILE) -> ModelSpec:
        """Raises ModelSourceError when a field is missing, unknown or altered by hand.

        What the parity gate found is no part of it: `verified` is None.

        Args:
            where: what the text is called in errors.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            stated = raw.pop("fingerprint")
            identity = ModelIdentity.from_dict(raw.pop("identity"))
            # Nobody could tell which graph a record in here is of.
            if "verified" in raw:
                raise ValueError("it has a record of `model verify`, which is no part of it")
            known = {field.name: raw[field.name] for field in fields(cls) if field.name in raw}
            spec = cls(**{**known, "identity": identity})
            _check_choices(spec)
        # Deep nesting ends in RecursionError.
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelSourceError(
                f"{where} is not a model description ({error}): export the model again"
            ) from error
        if spec.fingerprint != stated:
            raise ModelSourceError(
                f"{where} states fingerprint {stated} but describes {spec.fingerprint}: "
                "export the model again"
            )
        return spec

    @classmethod
    def load(cls, folder: Path) -> ModelSpec:
        """Reads a folder of the model repository.

        Raises:
            ModelSourceError: no description there, or one that does not hold together.
        """
        file = (folder / SPEC_FILE).absolute()
        try:
            return cls.from_json(file.read_bytes(), str(file))
        except FileNotFoundError as error:
            raise ModelSourceError(
                f"{file.parent} has no {SPEC_FILE}: write it with `sparsegate-server model export`"
            ) from error
        except OSError as error:
            raise ModelSourceError(
                f"{file} cannot be read ({error.strerror}): give this user the right to read the "
                "model's folder, or export the model again"
            ) from error


_CHOICES: tuple[tuple[str, object], ...] = (
    ("family", Family),
    ("pooling", Pooling),
    ("activation", Activation),
    ("output", Output),
    ("precision", Precision),
    ("backend", TritonBackend),
    ("device", Device),
)


def _check_choices(spec: ModelSpec) -> None:
    """Raises ValueError where a field has a value that it cannot have."""
    for name, choices in _CHOICES:
        value = getattr(spec.identity if hasattr(spec.identity, name) else spec, name)
        if value not in get_args(choices):
            raise ValueError(f"{name} {value!r} is none of {', '.join(get_args(choices))}")
