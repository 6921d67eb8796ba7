"""Arguments to request messages. All raise InvalidArgument for what the wire cannot carry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import get_args

from sparsegate._filters import FilterLike, write_filter
from sparsegate._messages import write_document, write_id, write_ids, write_vector
from sparsegate._payload import check_text
from sparsegate.errors import InvalidArgument
from sparsegate.types import (
    Document,
    DocumentId,
    EncodeMode,
    FieldKind,
    OnTruncation,
    Search,
    SparseVector,
)
from sparsegate.v1 import (
    collection_pb2,
    common_pb2,
    document_pb2,
    effort_pb2,
    encode_pb2,
    filter_pb2,
    search_pb2,
)

_MODES = {
    "query": encode_pb2.ENCODE_MODE_QUERY,
    "document": encode_pb2.ENCODE_MODE_DOCUMENT,
}
_HEADER = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_ON_TRUNCATION = {
    "flag": common_pb2.ON_TRUNCATION_FLAG,
    "error": common_pb2.ON_TRUNCATION_ERROR,
}


def encode(
    texts: Sequence[str],
    mode: EncodeMode,
    model: str,
    top_k: int | None,
    threshold: float | None,
    with_terms: bool,
    on_truncation: OnTruncation,
) -> encode_pb2.EncodeRequest:
    if mode not in _MODES:
        raise InvalidArgument(f"{mode!r} is neither 'query' nor 'document'", field="mode")
    if top_k is not None and not 0 <= top_k < 2**32:
        raise InvalidArgument(f"{top_k} is not a number of terms", field="top_k")
    return encode_pb2.EncodeRequest(
        model=model,
        mode=_MODES[mode],
        texts=_texts(texts),
        top_k=top_k,
        threshold=threshold,
        with_terms=with_terms,
        on_truncation=truncation(on_truncation),
    )


def tokenize(texts: Sequence[str], model: str) -> encode_pb2.TokenizeRequest:
    return encode_pb2.TokenizeRequest(model=model, texts=_texts(texts))


def upsert(
    collection: str, documents: Iterable[Document], on_truncation: OnTruncation
) -> document_pb2.UpsertRequest:
    return document_pb2.UpsertRequest(
        collection=collection,
        documents=[
            write_document(document, f"documents[{at}]") for at, document in enumerate(documents)
        ],
        on_truncation=truncation(on_truncation),
    )


def scroll(
    collection: str,
    after: DocumentId | None,
    limit: int,
    filter: FilterLike | None,
    with_text: bool,
    with_payload: bool,
    with_vector: bool,
    payload_include: Sequence[str],
    payload_exclude: Sequence[str],
) -> document_pb2.ScrollDocumentsRequest:
    return document_pb2.ScrollDocumentsRequest(
        collection=collection,
        after=None if after is None else write_id(after, "after"),
        limit=_limit(limit, "limit"),
        filter=optional_filter(filter),
        with_text=with_text,
        with_payload=with_payload,
        with_vector=with_vector,
        payload_include=names(payload_include, "payload_include"),
        payload_exclude=names(payload_exclude, "payload_exclude"),
    )


def set_payload(
    collection: str,
    ids: Iterable[DocumentId] | None,
    filter: FilterLike | None,
) -> document_pb2.SetPayloadRequest:
    """What to change of the documents is left to the caller.

    Raises:
        InvalidArgument: both ids and a filter, or neither.
    """
    request = document_pb2.SetPayloadRequest(collection=collection)
    if targets_ids(ids, filter):
        request.ids.ids.extend(write_ids(ids or (), "ids.ids"))
        request.ids.SetInParent()
    elif filter is not None:
        request.filter.CopyFrom(write_filter(filter))
    return request


def targets_ids(ids: object | None, filter: object | None) -> bool:
    """Whether documents are named by ids, or by a filter.

    Raises:
        InvalidArgument: both, or neither.
    """
    if (ids is None) == (filter is None):
        raise InvalidArgument("give either ids or a filter", field="ids")
    return ids is not None


def search(search: Search, path: str = "") -> search_pb2.SearchRequest:
    """`path` leads to the search inside a batch, as in `searches[3].`."""
    request = search_pb2.SearchRequest(
        collection=search.collection,
        limit=_limit(search.limit, f"{path}limit"),
        with_payload=search.with_payload,
        with_text=search.with_text,
        with_vector=search.with_vector,
        with_query=search.with_query,
        on_truncation=truncation(search.on_truncation),
        offset=_limit(search.offset, f"{path}offset"),
        score_threshold=search.score_threshold,
        filter=optional_filter(search.filter, f"{path}filter"),
        must_contain=names(search.must_contain, f"{path}must_contain"),
        idf=search.idf,
        payload_include=names(search.payload_include, f"{path}payload_include"),
        payload_exclude=names(search.payload_exclude, f"{path}payload_exclude"),
        effort=_effort(search.effort, search.target_recall, path),
        tier=_tier(search.tier, path),
    )
    _write_query(request, search.query, path)
    return request


def calibrate(
    collection: str, queries: Iterable[str | SparseVector], limit: int
) -> effort_pb2.CalibrateEffortRequest:
    if isinstance(queries, str):
        raise TypeError("queries is a sequence of queries: a single one measures nothing")
    request = effort_pb2.CalibrateEffortRequest(collection=collection, limit=_limit(limit, "limit"))
    for at, query in enumerate(queries):
        _write_query(request.queries.add(), query, f"queries[{at}].")
    return request


def explain(search: Search, id: DocumentId) -> search_pb2.ExplainRequest:
    request = search_pb2.ExplainRequest(
        collection=search.collection,
        id=write_id(id),
        on_truncation=truncation(search.on_truncation),
        limit=_limit(search.limit, "limit"),
        offset=_limit(search.offset, "offset"),
        score_threshold=search.score_threshold,
        filter=optional_filter(search.filter),
        must_contain=names(search.must_contain, "must_contain"),
        idf=search.idf,
        tier=_tier(search.tier, ""),
    )
    _write_query(request, search.query, "")
    return request


def optional_filter(filter: FilterLike | None, path: str = "filter") -> filter_pb2.Filter | None:
    return None if filter is None else write_filter(filter, path)


def names(values: Iterable[str], field: str) -> list[str]:
    if isinstance(values, str):
        raise TypeError(f"{field} is a sequence of strings: put a single one into a list")
    return [check_text(value, f"{field}[{at}]") for at, value in enumerate(values)]


def kind(choice: FieldKind) -> collection_pb2.FieldKind.ValueType:
    kinds: tuple[FieldKind, ...] = get_args(FieldKind)
    if choice not in kinds:
        raise InvalidArgument(f"{choice!r} is none of {', '.join(kinds)}", field="kind")
    return collection_pb2.FieldKind.Value(f"FIELD_KIND_{choice.upper()}")


def truncation(choice: OnTruncation) -> common_pb2.OnTruncation.ValueType:
    if choice not in _ON_TRUNCATION:
        raise InvalidArgument(f"{choice!r} is neither 'flag' nor 'error'", field="on_truncation")
    return _ON_TRUNCATION[choice]


def request_id(given: str | None) -> str | None:
    """The id of a request as a header, where one was given.

    Raises:
        InvalidArgument: a header cannot carry it as it is.
    """
    if given is None:
        return None
    if not isinstance(given, str) or not _HEADER.fullmatch(given):
        raise InvalidArgument(
            f"{given!r} cannot be a header: use printable ASCII characters, without spaces at "
            "the ends",
            field="request_id",
        )
    return given


def shards(number: int | None) -> int | None:
    """What the gateway allows is its business; this is only what the wire can carry."""
    if number is not None and not 0 <= number < 2**32:
        raise InvalidArgument(f"{number} is not a number of shards", field="shards")
    return number


def _effort(
    level: float | None, target_recall: float | None, path: str
) -> effort_pb2.Effort | None:
    """Raises InvalidArgument: both were given."""
    if target_recall is None:
        return None if level is None else effort_pb2.Effort(level=level)
    if level is not None:
        raise InvalidArgument("give either an effort or a target recall", field=f"{path}effort")
    return effort_pb2.Effort(target_recall=target_recall)


def _tier(number: int | None, path: str) -> int | None:
    """What the collection has is its business; this is only what the wire can carry."""
    if number is not None and not 0 <= number < 2**32:
        raise InvalidArgument(f"{number} is not a number of a tier", field=f"{path}tier")
    return number


def _write_query(
    request: search_pb2.SearchRequest | search_pb2.ExplainRequest | effort_pb2.CalibrationQuery,
    query: str | SparseVector,
    path: str,
) -> None:
    if isinstance(query, str):
        request.text = check_text(query, f"{path}text")
    else:
        request.vector.CopyFrom(write_vector(query, f"{path}vector"))


def _texts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError("texts is a sequence of texts: put a single one into a list")
    return [check_text(text, f"texts[{at}]") for at, text in enumerate(texts)]


def _limit(limit: int, field: str) -> int:
    """What the gateway allows is its business; this is only what the wire can carry."""
    if not 0 <= limit < 2**32:
        raise InvalidArgument(f"{limit} is not a number of results", field=field)
    return limit
