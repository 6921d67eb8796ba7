"""What every engine is given: the same documents and questions, in the file that peers load."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from bench import wiki
from numpy.typing import NDArray

from sparsegate_server.index.forward import Forward
from sparsegate_server.types import SparseVector

QUESTION_SEED = 11


class Inputs(NamedTuple):
    """Documents and questions in memory, and in a file.

    Attributes:
        reported: rows of the questions that figures are taken of, from the first half of all.
        tuning: rows of those that settings are chosen by, from the second half.
    """

    file: Path
    documents: Forward
    questions: list[SparseVector]
    reported: range
    tuning: range

    @property
    def vocabulary(self) -> int:
        return vocabulary_of(self.documents, self.questions)


def vocabulary_of(documents: Forward, questions: Sequence[SparseVector]) -> int:
    """One more than the greatest term id, as the peers count it."""
    greatest = [int(each.indices.max()) for each in questions if len(each)]
    return 1 + max(int(documents.terms.max()), *greatest)


def read(data: Path, work: Path, *, documents: int | None, reported: int, tuning: int) -> Inputs:
    """Jittered documents, a sample of the questions of each half, and the file of both."""
    every, questions = wiki.read(data)
    if documents is not None:
        every = first(every, documents)
    half = len(questions) // 2
    mine = sample(half, reported, QUESTION_SEED)
    others = half + sample(len(questions) - half, tuning, QUESTION_SEED + 1)
    chosen = [questions[row] for row in [*mine.tolist(), *others.tolist()]]
    file = work / "vectors.npz"
    write(file, lambda: [every], chosen)
    return Inputs(file, every, chosen, range(len(mine)), range(len(mine), len(chosen)))


def first(vectors: Forward, rows: int) -> Forward:
    """The first documents."""
    rows = min(rows, len(vectors))
    end = int(vectors.indptr[rows])
    return Forward(vectors.indptr[: rows + 1], vectors.terms[:end], vectors.weights[:end])


def sample(of: int, size: int, seed: int) -> NDArray[np.int64]:
    """Some of the first `of` numbers, ascending: int64 [at most `size`]."""
    return np.sort(np.random.default_rng(seed).choice(of, min(of, size), replace=False))


def write(
    path: Path, parts: Callable[[], Iterable[Forward]], questions: Sequence[SparseVector]
) -> None:
    """Writes an .npz of compressed sparse rows.

    Args:
        parts: makes the documents, piece by piece; called several times, and no piece is kept, so
            that a file may be larger than memory.
    """
    lengths = np.concatenate([[0], *(np.diff(each.indptr) for each in parts())])
    indptr = np.cumsum(lengths, dtype=np.int64)
    rows = Forward.of(questions)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as file:
        _add(file, "doc_indptr", np.int64, len(indptr), [indptr])
        terms = (each.terms for each in parts())
        _add(file, "doc_indices", np.int32, int(indptr[-1]), terms)
        weights = (each.weights for each in parts())
        _add(file, "doc_data", np.float32, int(indptr[-1]), weights)
        _add(file, "query_indptr", np.int64, len(rows.indptr), [rows.indptr])
        _add(file, "query_indices", np.int32, len(rows.terms), [rows.terms])
        _add(file, "query_data", np.float32, len(rows.weights), [rows.weights])


def _add(
    file: zipfile.ZipFile, name: str, dtype: Any, length: int, pieces: Iterable[NDArray[Any]]
) -> None:
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (length,)}
    with file.open(f"{name}.npy", "w", force_zip64=True) as member:
        _write_header(member, header)
        for piece in pieces:
            member.write(np.ascontiguousarray(piece, dtype).data.cast("B"))


def _write_header(member: IO[bytes], header: dict[str, Any]) -> None:
    np.lib.format.write_array_header_1_0(member, header)


def load(path: Path, documents: int | None = None) -> Forward:
    """The first documents of a file of `write`, or all."""
    vectors = _load(path, "doc")
    return vectors if documents is None else first(vectors, documents)


def load_questions(path: Path, questions: int | None = None) -> list[SparseVector]:
    """The first questions of a file of `write`, or all."""
    rows = _load(path, "query")
    asked = len(rows) if questions is None else min(questions, len(rows))
    return [rows.row(row) for row in range(asked)]


def _load(path: Path, kind: str) -> Forward:
    with np.load(path) as file:
        terms = file[f"{kind}_indices"].astype(np.uint32)
        return Forward(file[f"{kind}_indptr"], terms, file[f"{kind}_data"])


def chunks(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])
