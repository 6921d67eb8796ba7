"""What a stored document looks like on its way in and out."""

from __future__ import annotations

from typing import NamedTuple

from sparsegate_server.errors import CorruptStore
from sparsegate_server.index.store import codec
from sparsegate_server.index.values import Record


class Encoded(NamedTuple):
    """A document in its stored form, before it has a number.

    Attributes:
        checksum: of all the others.
    """

    key: bytes
    checksum: int
    payload: str
    text: str | None
    vector: bytes
    sizes: tuple[int, int]


class Stored(NamedTuple):
    """A row of the table of documents."""

    number: int
    key: bytes
    version: int
    checksum: int
    payload: bytes
    text: bytes | None
    vector: bytes

    def check(self) -> Stored:
        """Itself.

        Raises:
            CorruptStore: it does not fit its checksum.
        """
        if codec.checksum(self.key, self.text, self.payload, self.vector) != self.checksum:
            raise CorruptStore(
                f"document number {self.number} of the store is damaged: restore the collection's"
                " last snapshot, or delete the document and send it again",
                metadata={"number": str(self.number)},
            )
        return self

    def record(self) -> Record:
        text = None if self.text is None else self.text.decode()
        return Record(text, codec.read_payload(self.payload))


def encode(key: bytes, record: Record, vector: bytes) -> Encoded:
    """Raises InvalidDocument: a payload that JSON cannot say, or a text that is not Unicode."""
    payload = codec.write_payload(record.payload)
    text = None if record.text is None else codec.write_text(record.text)
    return Encoded(
        key,
        codec.checksum(key, text, payload, vector),
        payload.decode(),
        record.text,
        vector,
        (len(text or b""), len(payload)),
    )
