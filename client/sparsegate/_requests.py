"""Arguments to request messages. All raise InvalidArgument for what the wire cannot carry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sparsegate._messages import write_document, write_id, write_vector
from sparsegate._payload import check_text
from sparsegate.errors import InvalidArgument
from sparsegate.types import (
    Document,
    DocumentId,
    EncodeMode,
    OnTruncation,
    Search,
    SparseVector,
)
from sparsegate.v1 import common_pb2, document_pb2, encode_pb2, search_pb2

_MODES = {
    "query": encode_pb2.ENCODE_MODE_QUERY,
    "document": encode_pb2.ENCODE_MODE_DOCUMENT,
}
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
    collection: str, after: DocumentId | None, limit: int, with_vector: bool
) -> document_pb2.ScrollDocumentsRequest:
    return document_pb2.ScrollDocumentsRequest(
        collection=collection,
        after=None if after is None else write_id(after, "after"),
        limit=_limit(limit, "limit"),
        with_vector=with_vector,
    )


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
    )
    _write_query(request, search.query, path)
    return request


def explain(
    collection: str, query: str | SparseVector, id: DocumentId, on_truncation: OnTruncation
) -> search_pb2.ExplainRequest:
    request = search_pb2.ExplainRequest(
        collection=collection, id=write_id(id), on_truncation=truncation(on_truncation)
    )
    _write_query(request, query, "")
    return request


def truncation(choice: OnTruncation) -> common_pb2.OnTruncation.ValueType:
    if choice not in _ON_TRUNCATION:
        raise InvalidArgument(f"{choice!r} is neither 'flag' nor 'error'", field="on_truncation")
    return _ON_TRUNCATION[choice]


def _write_query(
    request: search_pb2.SearchRequest | search_pb2.ExplainRequest,
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
