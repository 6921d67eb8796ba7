"""Models whose queries are encoded otherwise than their documents, through the whole encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sparsegate_server.encoders.base import Encoder, Encoding, Mode
from sparsegate_server.encoders.registry import build_encoder
from sparsegate_server.errors import NoKnownTokens
from sparsegate_server.inference.onnx import OnnxBackend
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.pull import pull
from sparsegate_server.models.repository import Execution, Vectors, export
from sparsegate_server.settings import Inference, Settings

from ..models import bert_oracle

TEXT = "w7 w9 w9 w20"
IDS = [7, 9, 9, 20]
CLS, SEP = 2, 3
WHOLE = [CLS, *IDS, SEP]
IDF = {"w7": 1.5, "w9": 0.25}


def encoder_of(
    repository: Path, source: Path, queries: Path | None = None, **execution: bool
) -> Encoder:
    """Exports a checkpoint and serves it in this process."""
    vectors = Vectors(queries=pull(str(queries)) if queries else None)
    spec = export(pull(str(source)), repository, vectors=vectors, execution=Execution(**execution))
    settings = Settings(inference=Inference(backend="onnx"))
    return build_encoder(spec, repository / spec.name, OnnxBackend(repository, [spec]), settings)


async def weights(encoder: Encoder, mode: Mode, text: str = TEXT) -> dict[int, float]:
    (found,) = await encoder.encode([text], mode)
    assert isinstance(found, Encoding)
    return dict(zip(found.vector.indices.tolist(), found.vector.values.tolist(), strict=True))


def expected(checkpoint: Checkpoint, dropped: tuple[int, ...] = ()) -> dict[int, float]:
    made = bert_oracle.weights(checkpoint, WHOLE)
    return {
        term: pytest.approx(float(weight), abs=1e-5)
        for term, weight in enumerate(made)
        if weight > 0 and term not in dropped
    }


@pytest.fixture
def documents(tmp_path: Path) -> Checkpoint:
    return bert_oracle.write_checkpoint(tmp_path / "documents")


async def test_queries_have_a_graph_of_their_own(tmp_path: Path, documents: Checkpoint) -> None:
    queries = bert_oracle.write_checkpoint(tmp_path / "queries", tied=False)
    encoder = encoder_of(tmp_path / "repository", tmp_path / "documents", tmp_path / "queries")
    assert await weights(encoder, Mode.DOCUMENT) == expected(documents)
    assert await weights(encoder, Mode.QUERY) == expected(queries)
    assert expected(queries) != expected(documents)


async def test_queries_need_no_graph(tmp_path: Path, documents: Checkpoint) -> None:
    (tmp_path / "documents" / "idf.json").write_text(json.dumps(IDF))
    encoder = encoder_of(tmp_path / "repository", tmp_path / "documents")
    dropped = encoder.spec.identity.dropped_terms
    assert {CLS, SEP} <= set(dropped)
    assert await weights(encoder, Mode.DOCUMENT) == expected(documents, dropped)
    assert await weights(encoder, Mode.QUERY) == {7: 1.5, 9: 0.25}
    known, unknown = await encoder.encode(["w9", "w20"], Mode.QUERY)
    assert isinstance(known, Encoding)
    assert isinstance(unknown, NoKnownTokens)


async def test_without_a_graph_each_term_comes_with_its_own_token(
    tmp_path: Path, documents: Checkpoint
) -> None:
    """Of a token that comes twice, with the first; whatever was exported."""
    (tmp_path / "documents" / "idf.json").write_text(json.dumps(IDF))
    encoder = encoder_of(tmp_path / "repository", tmp_path / "documents")
    (found,) = await encoder.encode(["w20 w9 w7 w9"], Mode.QUERY)
    assert isinstance(found, Encoding)
    assert found.positions is not None
    assert (found.vector.indices.tolist(), found.positions.tolist()) == ([7, 9], [3, 2])
    assert found.positions.dtype == np.uint16
    (document,) = await encoder.encode([TEXT], Mode.DOCUMENT)
    assert isinstance(document, Encoding)
    assert document.positions is None


@pytest.mark.parametrize("mode", list(Mode))
async def test_each_term_comes_with_the_token_that_caused_it(
    tmp_path: Path, documents: Checkpoint, mode: Mode
) -> None:
    encoder = encoder_of(tmp_path / "repository", tmp_path / "documents", positions=True)
    (found,) = await encoder.encode([TEXT], mode)
    assert isinstance(found, Encoding)
    logits = bert_oracle.logits(documents, WHOLE)
    assert found.positions is not None
    assert found.positions.tolist() == logits[:, found.vector.indices].argmax(axis=0).tolist()
    assert np.unique(found.positions).size > 1
