"""How much padding the gateway's batches carry."""

from __future__ import annotations

from bench.micro.padding import REQUESTS, measure
from bench.report import Row
from bench.serving.stand import MODEL, ONNX, TRITON, Stand

from sparsegate_server import settings
from sparsegate_server.encoders.registry import batch_rules
from sparsegate_server.encoders.tokenizer import ModelTokenizer

BAR = 7
_REQUIRED = 1.15


def run(stand: Stand) -> None:
    tokenizer = ModelTokenizer(stand.repository / MODEL, stand.spec)
    for collection in (stand.scifact, stand.cranfield):
        documents = collection.documents[: stand.choices.whole]
        rows = [each.ids for each in tokenizer.encode(documents) if not each.empty]
        for name in (ONNX, TRITON):
            rules = batch_rules(settings.load(inference={"backend": name}), urgent=False)
            tallies = {request: measure(rows, stand.spec, rules, *request) for request in REQUESTS}
            wastes = {request: each.padded / each.real for request, each in tallies.items()}
            size, clients = max(wastes, key=lambda request: wastes[request])
            best = min(wastes.values())
            note = (
                f"worst of {len(REQUESTS)} ways to send, {size} documents a request from {clients}"
                f" client{'s' * (clients > 1)}; best {best:.3f}"
            )
            stand.add(
                Row(BAR, f"padded ÷ real tokens, {collection.name}, {name}", wastes[size, clients],
                    "", required=_REQUIRED, absolute=True, note=note)
            )  # fmt: skip
