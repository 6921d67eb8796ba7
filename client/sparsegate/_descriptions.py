"""What collections and models are, as messages, to results."""

from __future__ import annotations

from datetime import UTC
from typing import get_args

from sparsegate.results import LoadResult, UnloadResult
from sparsegate.types import (
    Alias,
    Calibration,
    Collection,
    EffortPoint,
    FieldKind,
    LoadOutcome,
    Model,
    ModelExecution,
    ModelIdentity,
    PayloadIndex,
    Snapshot,
    Tier,
)
from sparsegate.v1 import (
    collection_pb2,
    document_pb2,
    effort_pb2,
    encode_pb2,
    model_pb2,
    search_pb2,
    snapshot_pb2,
)


def collection(message: collection_pb2.Collection) -> Collection:
    return Collection(
        name=message.name,
        model=message.model,
        fingerprint=message.fingerprint,
        vocabulary_size=message.vocabulary_size,
        shards=message.shards,
        documents=message.documents,
        sequence=message.sequence,
        segments=message.segments,
        postings=message.postings,
        tombstones=message.tombstones,
        keep_text=message.keep_text,
        tail=message.tail,
        index_bytes=message.index_bytes,
        store_bytes=message.store_bytes,
        busy=message.busy,
        problem=message.problem,
        payload_indexes=tuple(map(_payload_index, message.payload_indexes)),
        aliases=tuple(message.aliases),
        calibration=calibration(message.calibration) if message.HasField("calibration") else None,
        identity=_identity(message),
        execution=execution(message),
        ladder=tuple(map(_tier, message.ladder)),
        model_problem=message.model_problem,
    )


def _tier(message: collection_pb2.Tier) -> Tier:
    return Tier(
        model=message.model,
        fingerprint=message.fingerprint,
        vocabulary_size=message.vocabulary_size,
        identity=_identity(message),
        execution=execution(message),
    )


def calibration(message: effort_pb2.EffortCalibration) -> Calibration:
    return Calibration(
        points=tuple(
            EffortPoint(
                effort=point.effort,
                recall=point.recall,
                recall_bound=point.recall_bound,
                postings_scored=point.postings_scored,
                milliseconds=point.milliseconds,
            )
            for point in message.points
        ),
        limit=message.limit,
        queries=message.queries,
        confidence=message.confidence,
        documents=message.documents,
        sequence=message.sequence,
    )


def _payload_index(message: collection_pb2.PayloadIndex) -> PayloadIndex:
    kinds: tuple[FieldKind, ...] = get_args(FieldKind)
    return PayloadIndex(message.field, kinds[message.kind - 1], message.ready)


def aliases(
    reply: collection_pb2.ListAliasesResponse | collection_pb2.UpdateAliasesResponse,
) -> list[Alias]:
    return [Alias(alias.alias, alias.collection) for alias in reply.aliases]


def snapshot(message: snapshot_pb2.Snapshot) -> Snapshot:
    return Snapshot(
        name=message.name,
        collection=message.collection,
        sequence=message.sequence,
        documents=message.documents,
        bytes=message.bytes,
        created=message.created.ToDatetime(tzinfo=UTC),
    )


def loaded(reply: model_pb2.LoadModelResponse) -> LoadResult:
    outcomes: tuple[LoadOutcome, ...] = get_args(LoadOutcome)
    return LoadResult(
        model=model(reply.model),
        outcome=outcomes[reply.outcome - 1],
        collections=tuple(reply.collections),
        collection_count=reply.collection_count,
    )


def unloaded(reply: model_pb2.UnloadModelResponse) -> UnloadResult:
    return UnloadResult(tuple(reply.collections), reply.collection_count)


def model(message: model_pb2.Model) -> Model:
    return Model(
        name=message.name,
        family=message.family,
        description=message.description,
        source=message.source,
        parameters=message.parameters,
        vocabulary_size=message.vocabulary_size,
        max_length=message.max_length,
        max_terms=message.max_terms,
        fingerprint=message.fingerprint,
        precision=message.precision,
        output=message.output,
        backend=message.backend,
        ready=message.ready,
        identity=_identity(message),
        positions=message.positions,
        triton_backend=message.triton_backend,
        device=message.device,
        query_source=message.query_source,
    )


def _identity(
    message: model_pb2.Model | collection_pb2.Collection | collection_pb2.Tier,
) -> ModelIdentity | None:
    """None where the gateway does not tell."""
    if not message.HasField("identity"):
        return None
    identity = message.identity
    return ModelIdentity(
        family=identity.family,
        queries=identity.queries,
        weights_sha256=identity.weights_sha256,
        query_weights_sha256=identity.query_weights_sha256,
        idf_sha256=identity.idf_sha256,
        tokenizer_sha256=identity.tokenizer_sha256,
        vocabulary_size=identity.vocabulary_size,
        pooling=identity.pooling,
        activation=identity.activation,
        max_length=identity.max_length,
        max_terms=identity.max_terms,
        threshold=identity.threshold,
        dropped_terms=tuple(identity.dropped_terms),
    )


def execution(
    message: collection_pb2.Collection
    | collection_pb2.Tier
    | document_pb2.UpsertResponse
    | encode_pb2.EncodeResponse
    | search_pb2.ExplainResponse
    | search_pb2.SearchResponse,
) -> ModelExecution | None:
    """None where the gateway does not tell."""
    if not message.HasField("execution"):
        return None
    return ModelExecution(message.execution.precision, message.execution.backend)
