"""What callers ask a collection to write: checked, and made a step that is applied once."""

from __future__ import annotations

from collections.abc import Sequence

from sparsegate_server.errors import InvalidRequest
from sparsegate_server.filters import TEXT_FIELD, FieldKind, Filter
from sparsegate_server.index.filter import evaluate
from sparsegate_server.index.recovery import Parameters
from sparsegate_server.index.store.codec import write_payload
from sparsegate_server.index.writes import Step, Writes, digest_of, prepare
from sparsegate_server.operations import Document, PayloadChange, StreamBatch, Target


class Requests:
    """Does, in the caller's thread, all of a write that needs no lock.

    A request with the id of an earlier one is not applied again; "" is no id.
    """

    def __init__(self, writes: Writes, parameters: Parameters) -> None:
        self._writes = writes
        self._parameters = parameters

    def upsert(
        self, documents: Sequence[Document], request_id: str, batch: StreamBatch | None
    ) -> Step:
        prepared = prepare(
            documents,
            self._parameters.vocabulary,
            keep_text=self._parameters.keep_text,
            with_digest=bool(request_id),
        )
        step = self._writes.once(self._writes.upsert(prepared), request_id, prepared.digest)
        return self._writes.in_stream(step, batch) if batch else step

    def delete(self, target: Target, request_id: str) -> Step:
        _check(target)
        return self._once(self._writes.delete(target), request_id, "delete", target)

    def set_payload(self, target: Target, change: PayloadChange, request_id: str) -> Step:
        _check(target)
        step = self._writes.set_payload(target, change)
        payload = write_payload(change.payload)
        return self._once(
            step, request_id, "set_payload", target, change.mode, payload, change.keys
        )

    def create_index(self, field: str, kind: FieldKind) -> Step:
        if field == TEXT_FIELD and not self._parameters.keep_text:
            raise InvalidRequest("the collection keeps no texts to index", field="field")
        return self._writes.create_index(field, kind)

    def delete_index(self, field: str) -> Step:
        return self._writes.delete_index(field)

    def _once(self, step: Step, request_id: str, *parts: object) -> Step:
        return self._writes.once(step, request_id, digest_of(*parts))


def _check(target: Target) -> None:
    if isinstance(target, Filter):
        evaluate.check(target)
