"""A small random model and text in its words."""

from __future__ import annotations

import json
import random
from pathlib import Path

from sparsegate_server.models.originals import Originals
from sparsegate_server.models.pull import Pulled
from sparsegate_server.models.repository import Execution, Vectors, export
from sparsegate_server.models.spec import Output, Precision
from sparsegate_server.parity.compare import Subject

from ..models import bert_oracle

DOCUMENTS, QUERIES = 30, 8


def write_beir(folder: Path) -> Path:
    """Texts of the words w5 to w49; each query's words are those that its document begins with."""
    words = random.Random(3)  # noqa: S311
    texts = [
        " ".join(f"w{words.randrange(5, 50)}" for _ in range(words.randrange(3, 30)))
        for _ in range(DOCUMENTS)
    ]
    documents = [{"_id": f"d{at}", "title": "", "text": text} for at, text in enumerate(texts)]
    queries = [{"_id": f"q{at}", "text": texts[at][:7].strip()} for at in range(QUERIES)]
    (folder / "qrels").mkdir(parents=True)
    for name, lines in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    judged = "".join(f"q{at}\td{at}\t1\n" for at in range(QUERIES))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


def checkpoint(folder: Path, *, tied: bool = True) -> Pulled:
    bert_oracle.write_checkpoint(folder, tied=tied)
    return Pulled("small", folder, str(folder))


def subject(
    folder: Path,
    precision: Precision = "fp32",
    output: Output = "terms",
    vectors: Vectors | None = None,
) -> Subject:
    """The model, exported without a gate."""
    pulled = checkpoint(folder / "documents")
    spec = export(
        pulled,
        folder / "repository",
        name="small",
        vectors=vectors,
        execution=Execution(output, precision),
    )
    queries = vectors.queries if vectors else None
    return Subject(folder / "repository", spec, Originals.load(pulled, queries))
