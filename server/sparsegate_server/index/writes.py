"""The writes of a collection as steps of the writer: what they change in memory and on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sparsegate_server.errors import InvalidDocument, InvalidRequest
from sparsegate_server.filters import FieldKind, Filter
from sparsegate_server.index import ids
from sparsegate_server.index.contents import Contents
from sparsegate_server.index.filter import paths
from sparsegate_server.index.filtering import Filtering
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.hydration import Hydration
from sparsegate_server.index.rows import Rows
from sparsegate_server.index.shard import Undo
from sparsegate_server.index.store import codec
from sparsegate_server.index.store.database import Store
from sparsegate_server.index.store.documents import Encoded, encode
from sparsegate_server.index.values import Record
from sparsegate_server.index.view import Place, View
from sparsegate_server.operations import (
    Document,
    PayloadChange,
    StreamBatch,
    Target,
    WriteResult,
)

Step = Callable[[Undo], WriteResult]
_DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Checked and encoded documents of one write, no key twice, in the order they came.

    Attributes:
        digest: to tell a retried request from another one with its id; empty where that is not
            asked.
    """

    keys: list[bytes]
    records: list[Record]
    forward: Forward
    encoded: list[Encoded]
    digest: bytes


def prepare(
    documents: Sequence[Document], vocabulary: int, *, keep_text: bool, with_digest: bool = True
) -> Prepared:
    """All of an upsert that needs no lock. The last of several documents with one id wins.

    Raises:
        InvalidRequest: an id that is none.
        InvalidVector, UnknownTerm, InvalidDocument: a document that cannot be stored.
    """
    forward = Forward.of([document.vector for document in documents])
    forward.check(vocabulary)
    latest: dict[bytes, int] = {}
    for at, document in enumerate(documents):
        latest[ids.encode(document.id, f"documents[{at}].id")] = at
    places = list(latest.values())
    if len(places) < len(documents):
        forward = Forward.of([documents[at].vector for at in places])
    records = [
        Record(documents[at].text if keep_text else None, documents[at].payload) for at in places
    ]
    stored = forward.stored(vocabulary)
    encoded = _encoded(list(latest), records, stored, places)
    digest = _digest(encoded, [documents[at] for at in places]) if with_digest else b""
    return Prepared(list(latest), records, stored, encoded, digest)


def _encoded(
    keys: Sequence[bytes], records: Sequence[Record], forward: Forward, places: Sequence[int]
) -> list[Encoded]:
    """Args:
    places: of the documents in the request, for errors.
    """
    vectors = codec.write_vectors(forward)
    encoded = []
    for at, key, record, vector in zip(places, keys, records, vectors, strict=True):
        try:
            encoded.append(encode(key, record, vector))
        except InvalidDocument as error:
            raise error.under(f"documents[{at}]") from error
    return encoded


def _digest(encoded: Sequence[Encoded], documents: Sequence[Document]) -> bytes:
    """Of what a request says. The vector of a text may come out with other bits when the text is
    encoded again elsewhere, so that only a document without a text is known by its vector."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for each, document in zip(encoded, documents, strict=True):
        text = document.text
        content = b"v" + each.vector if text is None else b"t" + text.encode()
        for part in (each.key, each.payload.encode(), content):
            digest.update(b"%d;" % len(part) + part)
    return digest.digest()


def digest_of(*parts: object) -> bytes:
    """Of a write that is not an upsert."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=_DIGEST_BYTES).digest()


class Writes:
    """Makes steps. A step runs in the writer's thread, under the lock of the contents.

    Args:
        most_payload_bytes: that a payload may have after a change, as stored; 0 for no limit.
    """

    def __init__(
        self,
        store: Store,
        contents: Contents,
        filtering: Filtering,
        hydration: Hydration,
        *,
        most_payload_bytes: int = 0,
    ) -> None:
        self._most_payload_bytes = most_payload_bytes
        self._store = store
        self._contents = contents
        self._filtering = filtering
        self._hydration = hydration

    def upsert(self, prepared: Prepared) -> Step:
        def step(undo: Undo) -> WriteResult:
            if not prepared.keys:
                return WriteResult(self._contents.sequence, 0)
            return self._put(prepared, undo)

        return step

    def delete(self, target: Target) -> Step:
        """Raises InvalidRequest: an id that is none."""
        keys = _keys(target)

        def step(undo: Undo) -> WriteResult:
            chosen = keys
            if chosen is None:
                places = self._passing(self._contents.taken(), target)
                chosen = [part.key(row) for part, row in places]
            sequence = self._contents.sequence + 1
            numbers = self._contents.bury(chosen, sequence, undo)
            if not numbers:
                return WriteResult(self._contents.sequence, 0)
            self._contents.sequence = sequence
            self._store.bury(numbers, sequence)
            return WriteResult(sequence, len(numbers))

        return step

    def set_payload(self, target: Target, change: PayloadChange) -> Step:
        """Raises InvalidRequest: an id that is none. InvalidDocument: a payload that is none."""
        keys = _keys(target)
        codec.write_payload(change.payload)

        def step(undo: Undo) -> WriteResult:
            view = self._contents.taken()
            places = self._passing(view, target) if keys is None else _known(view.find(keys))
            if not places:
                return WriteResult(self._contents.sequence, 0)
            return self._put(self._changed(places, change), undo)

        return step

    def create_index(self, field: str, kind: FieldKind) -> Step:
        """Raises InvalidFilter: not the path of a field."""
        name = paths.canonical(field)

        def step(undo: Undo) -> WriteResult:
            contents = self._contents
            known = contents.indexes.get(name)
            if known is kind:
                return WriteResult(contents.sequence, 1)
            if known is not None:
                raise InvalidRequest(
                    f"{field!r} has an index of the kind {known.value} already: delete it first",
                    field="kind",
                )
            contents.sequence += 1
            undo.append(lambda: contents.indexes.__delitem__(name))
            contents.indexes[name] = kind
            self._store.declare_index(name, kind, contents.sequence)
            return WriteResult(contents.sequence, 0)

        return step

    def delete_index(self, field: str) -> Step:
        """Raises InvalidFilter: not the path of a field."""
        name = paths.canonical(field)

        def step(undo: Undo) -> WriteResult:
            contents = self._contents
            known = contents.indexes.get(name)
            if known is None:
                return WriteResult(contents.sequence, 0)
            contents.sequence += 1
            undo.append(lambda: contents.indexes.__setitem__(name, known))
            del contents.indexes[name]
            self._store.drop_index(name)
            return WriteResult(contents.sequence, 1)

        return step

    def purge(self, numbers: Sequence[int]) -> Step:
        """Forgets documents that no segment holds and no read needs any more."""

        def step(_: Undo) -> WriteResult:
            self._store.purge(numbers)
            return WriteResult(self._contents.sequence, len(numbers))

        return step

    def once(self, step: Step, request_id: str, digest: bytes) -> Step:
        """The step, unless a request with this id was applied before.

        The step raises InvalidRequest when that was another request.
        """
        if not request_id:
            return step

        def checked(undo: Undo) -> WriteResult:
            earlier = self._store.request(request_id)
            if earlier is None:
                result = step(undo)
                self._store.remember_request(request_id, digest, result)
                return result
            known, result = earlier
            if known != digest:
                raise InvalidRequest(
                    f"request id {request_id!r} was used for another write: give each its own",
                    field="request_id",
                )
            return result

        return checked

    def in_stream(self, step: Step, batch: StreamBatch) -> Step:
        """The step, unless this batch of the stream was applied before."""

        def checked(undo: Undo) -> WriteResult:
            earlier = self._store.stream(batch.stream)
            if earlier is not None and batch.number <= earlier[0]:
                return earlier[1]
            result = step(undo)
            self._store.remember_batch(batch.stream, batch.number, result)
            return result

        return checked

    def _put(self, prepared: Prepared, undo: Undo) -> WriteResult:
        contents = self._contents
        sequence = contents.sequence + 1
        replaced = contents.bury(prepared.keys, sequence, undo)
        numbers = contents.take_numbers(len(prepared.keys))
        sizes = [each.sizes for each in prepared.encoded]
        rows = Rows(prepared.keys, prepared.records, sizes, prepared.forward, numbers)
        contents.add(rows, sequence, undo)
        contents.sequence = sequence
        self._store.bury(replaced, sequence)
        self._store.insert(prepared.encoded, numbers, sequence)
        return WriteResult(sequence, len(replaced))

    def _passing(self, view: View, target: Target) -> list[Place]:
        assert isinstance(target, Filter)
        passing = self._filtering.passing(view, target)
        return [(part, row) for part, rows in passing.rows.items() for row in rows]

    def _changed(self, places: Sequence[Place], change: PayloadChange) -> Prepared:
        """New versions of documents, with their texts and vectors as they are."""
        vectors = [part.vector(row) for part, row in places]
        records = [
            Record(record.text, change.of(record.payload))
            for record in self._hydration.records(places)
        ]
        forward = Forward.of(vectors).stored(self._contents.vocabulary)
        keys = [part.key(row) for part, row in places]
        encoded = _encoded(keys, records, forward, range(len(keys)))
        for each in encoded:
            self._check_size(each)
        return Prepared(keys, records, forward, encoded, b"")

    def _check_size(self, changed: Encoded) -> None:
        _, size = changed.sizes
        if self._most_payload_bytes and size > self._most_payload_bytes:
            raise InvalidDocument(
                f"the payload of {ids.decode(changed.key)!r} would have {size} bytes, more than the"
                f" {self._most_payload_bytes} allowed",
                field="payload",
            )


def _known(places: Sequence[Place | None]) -> list[Place]:
    return [place for place in places if place is not None]


def _keys(target: Target) -> list[bytes] | None:
    """The keys of a target, each once; None for a filter."""
    if isinstance(target, Filter):
        return None
    return list(dict.fromkeys(ids.encode_all(target, "ids")))
