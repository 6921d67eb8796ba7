"""The text that graphs are compared on: documents, queries, and what is relevant to each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsegate_server.errors import ModelSourceError


@dataclass(frozen=True, slots=True)
class TextSet:
    """A test collection.

    Attributes:
        name: for people.
        documents: texts.
        queries: texts, each with at least one relevant document.
        relevant: for each query, the grade of each relevant document by its position.
    """

    name: str
    documents: tuple[str, ...]
    queries: tuple[str, ...]
    relevant: tuple[Mapping[int, float], ...]

    @property
    def sha256(self) -> str:
        """Over all of it but the name, as hex."""
        grades = [sorted(each.items()) for each in self.relevant]
        content = json.dumps([self.documents, self.queries, grades], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    def sample(self, documents: int, queries: int) -> TextSet:
        """A smaller set, spread evenly over this one; the same at every call.

        A query keeps those of its relevant documents that are in the sample, which has at least one
        of each; hence it may have more documents than asked for, one a query at most.
        """
        if len(self.documents) <= documents and len(self.queries) <= queries:
            return self
        asked = spread(len(self.queries), queries)
        kept = set(spread(len(self.documents), documents))
        kept |= {max(self.relevant[at], key=self.relevant[at].__getitem__) for at in asked}
        place = {at: index for index, at in enumerate(sorted(kept))}
        return TextSet(
            f"a sample of {self.name}",
            tuple(self.documents[at] for at in place),
            tuple(self.queries[at] for at in asked),
            tuple(
                {place[at]: grade for at, grade in self.relevant[query].items() if at in place}
                for query in asked
            ),
        )


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` different positions below `count`, ascending and evenly spread."""
    wanted = min(count, wanted)
    return [at * count // wanted for at in range(wanted)]


@dataclass(frozen=True, slots=True)
class Beir:
    """A folder as BEIR lays it out, whole.

    Attributes:
        name: of the folder.
        documents: title, a space, and text of each, in the order of the corpus; some may be blank.
        questions: by the collection's own ids, judged or not.
        judged: for each question that has a relevant document, the grade of each of them by its
            position in the corpus.
    """

    name: str
    documents: tuple[str, ...]
    questions: Mapping[str, str]
    judged: Mapping[str, Mapping[int, float]]

    @classmethod
    def read(cls, folder: Path) -> Beir:
        """Args:
        folder: with corpus.jsonl, queries.jsonl and qrels/test.tsv.

        Raises:
            ModelSourceError: a file is missing or not understood.
        """
        documents = dict(_texts(folder / "corpus.jsonl"))
        questions = {id: text.strip() for id, text in _texts(folder / "queries.jsonl")}
        place = {id: at for at, id in enumerate(documents)}
        judged: dict[str, dict[int, float]] = {}
        for question, document, grade in _judgements(folder / "qrels" / "test.tsv"):
            if question in questions and document in place and grade > 0:
                judged.setdefault(question, {})[place[document]] = grade
        return cls(folder.absolute().name, tuple(documents.values()), questions, judged)


def read_beir(folder: Path) -> TextSet:
    """What a BEIR folder judges; questions without a relevant document are left out.

    Raises:
        ModelSourceError: a file is missing or not understood, or no question is left.
    """
    whole = Beir.read(folder)
    if not whole.judged:
        raise ModelSourceError(
            f"{folder} judges no document for any of its queries: qrels/test.tsv must name ids of "
            "corpus.jsonl and queries.jsonl"
        )
    return TextSet(
        whole.name,
        tuple(text.strip() for text in whole.documents),
        tuple(whole.questions[id] for id in whole.judged),
        tuple(whole.judged.values()),
    )


def _texts(file: Path) -> Iterator[tuple[str, str]]:
    """The id of each, and its title, a space, and its text."""
    for number, line in _lines(file):
        try:
            raw: dict[str, Any] = json.loads(line)
            title, text = raw.get("title") or "", raw["text"]
            yield str(raw["_id"]), f"{title} {text}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelSourceError(
                f"{file}, line {number}: not a JSON object with _id and text ({error})"
            ) from error


def _judgements(file: Path) -> Iterator[tuple[str, str, float]]:
    for number, line in _lines(file):
        fields = line.split("\t")
        try:
            query, document, grade = fields
            yield query, document, float(grade)
        except ValueError as error:
            # The first line names the columns.
            if number > 1:
                raise ModelSourceError(
                    f"{file}, line {number}: not a query's id, a document's and a grade, with tabs "
                    "between them"
                ) from error


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise ModelSourceError(
            f"{file} cannot be read ({error}): a BEIR folder has corpus.jsonl, queries.jsonl and "
            "qrels/test.tsv"
        ) from error
    return ((number, line) for number, line in enumerate(lines, 1) if line.strip())
