"""What a stored document looks like on its way in and out."""

from __future__ import annotations

from typing import NamedTuple

from sparsegate_server.errors import CorruptStore
from sparsegate_server.index import ids
from sparsegate_server.index.store import codec
from sparsegate_server.index.values import Record


class Encoded(NamedTuple):
    """A document in its stored form, before it has a number.

    Attributes:
        checksums: of its parts, see `codec.checksums`.
        sizes: bytes of the text and of the payload.
    """

    key: bytes
    checksums: bytes
    payload: str
    text: str | None
    vector: bytes
    sizes: tuple[int, int]


class Stored(NamedTuple):
    """A row of the table of documents."""

    number: int
    key: bytes
    version: int
    checksums: bytes
    payload: bytes
    text: bytes | None
    vector: bytes

    def check(self) -> Stored:
        """Itself.

        Raises:
            CorruptStore: a part of it does not fit its checksum.
        """
        sums = codec.checksums(self.key, self.text, self.payload, self.vector)
        if sums != self.checksums:
            raise damaged_document(self.key, self.number)
        return self

    def record(self) -> Record:
        text = None if self.text is None else self.text.decode()
        return Record(text, codec.read_payload(self.payload))


class StoredParts(NamedTuple):
    """What a read has asked for of a document."""

    checksums: bytes
    text: bytes | None
    payload: bytes


def encode(key: bytes, record: Record, vector: bytes) -> Encoded:
    """Raises InvalidDocument: a payload that JSON cannot say, or a text that is not Unicode."""
    payload = codec.write_payload(record.payload)
    text = None if record.text is None else codec.write_text(record.text)
    return Encoded(
        key,
        codec.checksums(key, text, payload, vector),
        payload.decode(),
        record.text,
        vector,
        (len(text or b""), len(payload)),
    )


def damaged_document(key: bytes, number: int) -> CorruptStore:
    """What to say of a document whose stored form cannot be trusted."""
    try:
        name = f"document {ids.decode(key)!r}"
    except ValueError:
        name = f"document number {number}"
    return CorruptStore(
        f"{name} is damaged in the store: delete it and send it again, or restore the collection's"
        " last snapshot",
        metadata={"number": str(number)},
    )
