"""What collections, aliases, indexes and snapshots are, as messages."""

from __future__ import annotations

from sparsegate.v1 import collection_pb2, snapshot_pb2
from sparsegate_server.backends.base import Alias, CollectionStats, PayloadIndex, Snapshot, Tier
from sparsegate_server.filters import FieldKind
from sparsegate_server.rpc.efforts import calibration_to
from sparsegate_server.rpc.identity import execution_to, identity_to
from sparsegate_server.search.identity import identity_of
from sparsegate_server.search.models import Execution

_KINDS = {
    collection_pb2.FIELD_KIND_KEYWORD: FieldKind.KEYWORD,
    collection_pb2.FIELD_KIND_NUMBER: FieldKind.NUMBER,
    collection_pb2.FIELD_KIND_BOOL: FieldKind.BOOL,
    collection_pb2.FIELD_KIND_DATETIME: FieldKind.DATETIME,
    collection_pb2.FIELD_KIND_TEXT: FieldKind.TEXT,
}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}


def kind_from(number: collection_pb2.FieldKind.ValueType) -> FieldKind:
    return _KINDS[number]


def collection_to(stats: CollectionStats, model_problem: str) -> collection_pb2.Collection:
    """`model_problem`: why its texts cannot be encoded now, or ""."""
    config = stats.config
    own = _tier(config.own)
    return collection_pb2.Collection(
        name=config.name,
        model=own.model,
        fingerprint=own.fingerprint,
        vocabulary_size=own.vocabulary_size,
        shards=config.shards,
        keep_text=config.keep_text,
        documents=stats.documents,
        sequence=stats.sequence,
        segments=stats.segments,
        tail=stats.tail,
        postings=stats.postings,
        tombstones=stats.tombstones,
        index_bytes=stats.index_bytes,
        store_bytes=stats.store_bytes,
        busy=stats.busy,
        problem=stats.problem,
        payload_indexes=map(_index, stats.payload_indexes),
        aliases=stats.aliases,
        calibration=calibration_to(stats.calibration) if stats.calibration else None,
        identity=own.identity if own.HasField("identity") else None,
        execution=own.execution if own.HasField("execution") else None,
        ladder=map(_tier, config.ladder),
        model_problem=model_problem,
    )


def _tier(tier: Tier) -> collection_pb2.Tier:
    identity = identity_of(tier)
    ran = Execution(tier.precision, tier.inference) if tier.inference else None
    return collection_pb2.Tier(
        model=tier.model,
        fingerprint=tier.fingerprint,
        vocabulary_size=tier.vocabulary_size,
        identity=identity_to(identity) if identity else None,
        execution=execution_to(ran) if ran else None,
    )


def _index(index: PayloadIndex) -> collection_pb2.PayloadIndex:
    return collection_pb2.PayloadIndex(
        field=index.field, kind=_NUMBERS[index.kind], ready=index.ready
    )


def alias_to(alias: Alias) -> collection_pb2.Alias:
    return collection_pb2.Alias(alias=alias.alias, collection=alias.collection)


def snapshot_to(snapshot: Snapshot) -> snapshot_pb2.Snapshot:
    message = snapshot_pb2.Snapshot(
        name=snapshot.name,
        collection=snapshot.collection,
        sequence=snapshot.sequence,
        documents=snapshot.documents,
        bytes=snapshot.bytes,
    )
    message.created.FromMicroseconds(round(snapshot.created * 1e6))
    return message
