"""EncodeService."""

from __future__ import annotations

from collections.abc import Sequence

from sparsegate.v1 import encode_pb2, encode_pb2_grpc
from sparsegate_server.encoders.base import Encoder, Encoding, Mode, Tokenized
from sparsegate_server.errors import SparsegateError
from sparsegate_server.rpc import call as calls
from sparsegate_server.rpc import convert
from sparsegate_server.rpc.identity import execution_to
from sparsegate_server.rpc.interceptor import Context, offload
from sparsegate_server.rpc.sizes import check_size
from sparsegate_server.rpc.status import to_status
from sparsegate_server.search.encode import EncodeOptions, EncodePlan
from sparsegate_server.settings import Limits

TOKEN_BYTES = 16
"""About what one token takes in a reply; long replies are built in a thread."""

_MODES = {
    encode_pb2.ENCODE_MODE_QUERY: Mode.QUERY,
    encode_pb2.ENCODE_MODE_DOCUMENT: Mode.DOCUMENT,
}


class EncodeServicer(encode_pb2_grpc.EncodeServiceServicer):
    def __init__(self, plan: EncodePlan, limits: Limits) -> None:
        self._plan = plan
        self._limits = limits

    async def Encode(
        self, request: encode_pb2.EncodeRequest, context: Context
    ) -> encode_pb2.EncodeResponse:
        check_size("texts", len(request.texts), self._limits.max_texts)
        call = calls.current()
        options = EncodeOptions(
            mode=_MODES[request.mode],
            top_k=request.top_k,
            threshold=request.threshold,
            on_truncation=convert.on_truncation_from(request.on_truncation),
        )
        encoder, items = await self._plan.encode(
            request.model,
            self._checked(request.texts),
            options,
            timings=call.timings.encode,
            caller=call.caller,
        )
        return encode_pb2.EncodeResponse(
            results=[
                self._result(at, item, encoder, with_terms=request.with_terms)
                for at, item in enumerate(items)
            ],
            model=encoder.spec.name,
            fingerprint=encoder.spec.fingerprint,
            timings=convert.timings_to(call.timings),
            execution=execution_to(self._plan.execution(encoder)),
        )

    async def Tokenize(
        self, request: encode_pb2.TokenizeRequest, context: Context
    ) -> encode_pb2.TokenizeResponse:
        check_size("texts", len(request.texts), self._limits.max_texts)
        encoder, texts = await self._plan.tokenize(request.model, self._checked(request.texts))
        size = sum(len(text.tokens) for text in texts) * TOKEN_BYTES
        return await offload(size, _tokenized_texts, texts, encoder.spec.name)

    def _checked(self, texts: Sequence[str]) -> list[str]:
        for at, text in enumerate(texts):
            size = len(text.encode())
            check_size(f"texts[{at}]", size, self._limits.max_text_bytes)
        return list(texts)

    def _result(
        self, at: int, item: Encoding | SparsegateError, encoder: Encoder, *, with_terms: bool
    ) -> encode_pb2.EncodeResult:
        if isinstance(item, SparsegateError):
            return encode_pb2.EncodeResult(error=to_status(item.under(f"texts[{at}]")))
        return encode_pb2.EncodeResult(
            encoding=encode_pb2.Encoding(
                vector=convert.vector_to(item.vector, encoder.spec.fingerprint),
                terms=[encoder.term(int(t)) for t in item.vector.indices] if with_terms else (),
                tokens_used=item.tokens_used,
                truncated=item.truncated,
                capped=item.capped,
            )
        )


def _tokenized_texts(texts: Sequence[Tokenized], model: str) -> encode_pb2.TokenizeResponse:
    return encode_pb2.TokenizeResponse(texts=map(_tokenized, texts), model=model)


def _tokenized(text: Tokenized) -> encode_pb2.TokenizedText:
    return encode_pb2.TokenizedText(
        tokens=[
            encode_pb2.Token(id=t.id, text=t.text, start=t.start, end=t.end) for t in text.tokens
        ],
        truncated=text.truncated,
    )
