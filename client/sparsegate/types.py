"""The words that calls and results share: frozen values, none of them tied to the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypedDict, TypeVar

from sparsegate.errors import SparsegateError

if TYPE_CHECKING:
    from sparsegate.filters import Condition, Filter

DocumentId: TypeAlias = int | str
"""An unsigned 64-bit integer or 1 to 256 bytes of text. `5` and `"5"` are two documents."""

Payload: TypeAlias = Mapping[str, Any]
"""What JSON can say, with 64-bit integers kept exactly: None, bool, int, float, str, and lists and
mappings of them. Tuples come back as lists."""

EncodeMode: TypeAlias = Literal["query", "document"]
OnTruncation: TypeAlias = Literal["flag", "error"]
FieldKind: TypeAlias = Literal["keyword", "number", "bool", "datetime", "text"]
LoadOutcome: TypeAlias = Literal["loaded", "replaced", "unchanged"]
PayloadMode: TypeAlias = Literal["merge", "replace"]

Item = TypeVar("Item")


class CallOptions(TypedDict, total=False):
    """What every call takes besides its own arguments.

    Attributes:
        timeout: seconds until the call fails with `DeadlineExceeded`, instead of the client's.
        metadata: headers sent along, after the client's; keys are lower case.
        request_id: what the gateway's logs call the request, instead of a random id, in printable
            ASCII. A write that is sent again with the id of an earlier one is not applied again.
    """

    timeout: float
    metadata: Sequence[tuple[str, str]]
    request_id: str


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Weighted terms.

    Attributes:
        indices: term ids. Results have them ascending.
        values: their weights, parallel to `indices`.
        fingerprint: of the model that made the vector; a collection of another model refuses it.
            Empty when unknown.
    """

    indices: Sequence[int]
    values: Sequence[float]
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True, slots=True)
class Document:
    """What is kept and found. It needs a text, or a vector of your own, or both.

    Attributes:
        id: its identity within the collection.
        text: encoded by the collection's model unless `vector` is given; kept unless the collection
            keeps no texts.
        vector: your own, used as it is. In results, the stored one, where asked for.
        payload: anything that should come back with the document.
    """

    id: DocumentId
    text: str | None = None
    vector: SparseVector | None = None
    payload: Payload = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a request went, in milliseconds. Stages that did not run are zero."""

    tokenize_ms: float = 0.0
    queue_ms: float = 0.0
    infer_ms: float = 0.0
    search_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch(Generic[Item]):
    """Results of a batch call.

    Attributes:
        items: one per item sent, in order: its result, or the error that refused it.
    """

    items: tuple[Item | SparsegateError, ...]

    @property
    def errors(self) -> dict[int, SparsegateError]:
        """The errors by position."""
        return {at: item for at, item in enumerate(self.items) if isinstance(item, SparsegateError)}

    def unwrap(self) -> list[Item]:
        """All results, in order.

        Raises:
            SparsegateError: the error of the first item that was refused.
        """
        results = []
        for item in self.items:
            if isinstance(item, SparsegateError):
                raise item
            results.append(item)
        return results


@dataclass(frozen=True, slots=True)
class PayloadIndex:
    """A declared index of a payload field.

    Attributes:
        field: the field, as in a filter.
        kind: what it looks for there.
        ready: whether filters use it already.
    """

    field: str
    kind: FieldKind
    ready: bool


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name of a collection."""

    alias: str
    collection: str


@dataclass(frozen=True, slots=True)
class AliasChange:
    """Points `alias` to `collection`, whatever it was before; None removes it."""

    alias: str
    collection: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A collection at one instant, as an archive that the gateway keeps.

    Attributes:
        name: unique within the collection.
        collection: name of the collection.
        sequence: number of the last write in it.
        documents: live documents in it.
        bytes: size of the archive.
        created: when it was taken, in UTC.
    """

    name: str
    collection: str
    sequence: int
    documents: int
    bytes: int
    created: datetime


@dataclass(frozen=True, slots=True)
class EffortPoint:
    """What one effort cost and found, in the mean of all measured queries.

    Attributes:
        effort: the effort.
        recall: share of the exact hits that were found. A document that scores as high as the last
            exact hit counts as one of them.
        recall_bound: the recall of other queries of the kind is above it, with the calibration's
            confidence.
        postings_scored: stored term weights that were read.
        milliseconds: time in the index, as it happened to be.
    """

    effort: float
    recall: float
    recall_bound: float
    postings_scored: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How much effort a recall takes in a collection.

    Attributes:
        points: by ascending effort; the last one is exact.
        limit: hits of each measured search.
        queries: how many were measured.
        confidence: how sure the bounds of the recall are.
        documents: of the collection then. Where it has many more now, calibrate again.
        sequence: number of the collection's last write then.
    """

    points: tuple[EffortPoint, ...]
    limit: int
    queries: int
    confidence: float
    documents: int
    sequence: int

    def effort_for(self, target_recall: float) -> float:
        """The effort that a search with this target makes; 1 is exact."""
        reaching = (each.effort for each in self.points if each.recall_bound >= target_recall)
        return next(reaching, 1.0)


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """All that a vector's values depend on. Two models with equal identities make the same vectors.

    Attributes:
        family: how text becomes weighted terms: `splade`, `splade-doc`, ….
        queries: what encodes a query: `documents`, the documents' own graph; `graph`, one of its
            own; or `tokens`, a weight for each of its tokens, without a graph.
        weights_sha256: of the checkpoint's weights, in hex.
        query_weights_sha256: of the queries' own checkpoint, or "".
        idf_sha256: of the weights that a query's tokens have, or "".
        tokenizer_sha256: of the tokenizer.
        vocabulary_size: number of terms.
        pooling: how the positions of a text are joined: `max` or `sum`.
        activation: what makes a weight of a logit: `log1p` or `log1p-twice`.
        max_length: greatest number of tokens of a text, special tokens included.
        max_terms: greatest number of terms of a vector.
        threshold: weights at or below it are dropped.
        dropped_terms: terms that no vector has, ascending.
    """

    family: str
    queries: str
    weights_sha256: str
    query_weights_sha256: str
    idf_sha256: str
    tokenizer_sha256: str
    vocabulary_size: int
    pooling: str
    activation: str
    max_length: int
    max_terms: int
    threshold: float
    dropped_terms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelExecution:
    """How a model runs, which is no part of its identity.

    Attributes:
        precision: `fp32`, `fp16` or `int8`.
        backend: where its graph runs: `triton`, `onnx` or `dummy`.
    """

    precision: str
    backend: str


@dataclass(frozen=True, slots=True)
class Tier:
    """A model in the ladder of a collection.

    Attributes:
        model: its name.
        fingerprint: of its identity.
        vocabulary_size: term ids are below it.
        identity: what the fingerprint is of.
        execution: how it ran when the collection was created.
    """

    model: str
    fingerprint: str
    vocabulary_size: int
    identity: ModelIdentity | None = None
    execution: ModelExecution | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of documents under one model.

    Attributes:
        name: its name.
        model: name of the model that encodes its texts.
        fingerprint: of that model's identity.
        vocabulary_size: term ids are below it.
        shards: number of shards.
        documents: number of live documents.
        sequence: number of the last write.
        segments: immutable parts of the index.
        postings: stored term weights.
        tombstones: dead documents not merged away yet.
        keep_text: whether texts are stored once they are encoded.
        tail: documents not yet sealed into a segment, dead ones included.
        index_bytes: of the index's files.
        store_bytes: of the store's files.
        busy: whether sealing, merging or indexing is under way.
        problem: why background work fails, "" while it does not.
        payload_indexes: declared indexes of payload fields.
        aliases: other names that point to it.
        calibration: how much effort a recall takes, where that was measured.
        identity: of its model; None where an older gateway made the collection.
        execution: how that model ran when the collection was created; None likewise.
        ladder: models that stand in, in this order, while its own cannot encode a query.
        model_problem: why texts cannot be encoded by all of its models just now, or "".
    """

    name: str
    model: str
    fingerprint: str
    vocabulary_size: int
    shards: int
    documents: int
    sequence: int
    segments: int
    postings: int
    tombstones: int
    keep_text: bool = True
    tail: int = 0
    index_bytes: int = 0
    store_bytes: int = 0
    busy: bool = False
    problem: str = ""
    payload_indexes: tuple[PayloadIndex, ...] = ()
    aliases: tuple[str, ...] = ()
    calibration: Calibration | None = None
    identity: ModelIdentity | None = None
    execution: ModelExecution | None = None
    ladder: tuple[Tier, ...] = ()
    model_problem: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """One search of a batch; the fields are the arguments of `Client.search`."""

    collection: str
    query: str | SparseVector
    limit: int = 10
    with_payload: bool = False
    with_text: bool = False
    with_vector: bool = False
    with_query: bool = False
    on_truncation: OnTruncation = "flag"
    offset: int = 0
    score_threshold: float | None = None
    filter: Filter | Condition | None = None
    must_contain: Sequence[str] = ()
    idf: bool = False
    payload_include: Sequence[str] = ()
    payload_exclude: Sequence[str] = ()
    effort: float | None = None
    target_recall: float | None = None
    tier: int | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A served model.

    Attributes:
        name: its name.
        family: how it turns text into weighted terms.
        description: one line for people.
        source: where its checkpoint came from.
        parameters: number of weights.
        vocabulary_size: number of terms.
        max_length: greatest number of tokens of a text, special tokens included.
        max_terms: greatest number of terms of a vector.
        fingerprint: models with one fingerprint make the same vectors.
        precision: numeric precision that it runs in.
        output: what its graph returns: `terms`, `pooled` or `logits`.
        backend: where its graph runs: `triton`, `onnx` or `dummy`.
        ready: whether it can encode now.
        identity: what the fingerprint is of; None where the gateway is older.
        positions: whether it tells the token that caused each term.
        triton_backend: what runs its graph inside Triton: `python`, `onnxruntime`, `tensorrt` or
            `torch`.
        device: where Triton runs it: `cpu` or `gpu`.
        query_source: where the checkpoint of its queries came from, or "".
    """

    name: str
    family: str
    description: str
    source: str
    parameters: int
    vocabulary_size: int
    max_length: int
    max_terms: int
    fingerprint: str
    precision: str
    output: str
    backend: str
    ready: bool
    identity: ModelIdentity | None = None
    positions: bool = False
    triton_backend: str = ""
    device: str = ""
    query_source: str = ""
