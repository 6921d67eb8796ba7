"""The search benchmark's own arithmetic: recall, selectivities, shapes, BM25, and one small run."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bench.pipe import EngineFailed, Worker
from bench.report import Row
from bench.search import inputs, passages, payloads, replicas, shapes
from bench.search.truth import Answer, Truth, equal_scores
from bench.search.turns import Job, take_turns
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.index.filter.match import dropped_by
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.store import codec
from sparsegate_server.types import SparseVector

VOCABULARY = 60


def vectors(rows: int, terms: int, seed: int) -> list[SparseVector]:
    draw = np.random.default_rng(seed)
    return [
        SparseVector(
            np.sort(draw.choice(VOCABULARY, terms, replace=False)).astype(np.uint32),
            draw.uniform(0.01, 3, terms).astype(np.float32),
        )
        for _ in range(rows)
    ]


def dense(vector: SparseVector) -> list[float]:
    values = [0.0] * VOCABULARY
    for term, weight in zip(vector.indices.tolist(), vector.values.tolist(), strict=True):
        values[term] = weight
    return values


def by_hand(documents: list[SparseVector], question: SparseVector) -> list[tuple[float, int]]:
    """Scores and ids of all that share a term, best first."""
    asked = dense(question)
    scored = [
        (math.fsum(a * b for a, b in zip(asked, dense(each), strict=True)), row)
        for row, each in enumerate(documents)
    ]
    return sorted((each for each in scored if each[0] > 0), key=lambda each: (-each[0], each[1]))


def answer(found: list[tuple[float, int]]) -> Answer:
    return Answer(
        np.array([row for _, row in found], np.int64), np.array([score for score, _ in found])
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    documents = Forward.of(vectors(240, 12, 1))
    inputs.write(tmp_path / "vectors.npz", lambda: [documents], vectors(20, 5, 2))
    return tmp_path / "vectors.npz"


class TestTruth:
    documents = vectors(240, 12, 1)
    questions = vectors(20, 5, 2)

    @pytest.fixture
    def truth(self) -> Truth:
        return Truth(Forward.of(self.documents), self.questions)

    def test_the_right_answers_have_full_recall(self, truth: Truth) -> None:
        right = [answer(by_hand(self.documents, each)[:10]) for each in self.questions]

        assert truth.recall(range(20), right, 10) == 1.0

    @pytest.mark.parametrize("missed", [1, 3, 10])
    def test_each_missed_document_counts(self, truth: Truth, missed: int) -> None:
        found = [by_hand(self.documents, each) for each in self.questions]
        short = [answer([*each[: 10 - missed], *each[10 : 10 + missed]]) for each in found]

        assert truth.recall(range(20), short, 10) == pytest.approx(1 - missed / 10)

    def test_a_document_given_twice_counts_for_nothing(self, truth: Truth) -> None:
        best = by_hand(self.documents, self.questions[0])[0]

        assert truth.recall([0], [answer([best] * 10)], 10) == 0.0

    def test_of_equal_documents_any_is_right(self) -> None:
        (one,) = vectors(1, 12, 1)
        truth = Truth(Forward.of([one] * 30), [one])

        assert truth.recall([0], [answer([(1.0, row) for row in range(20, 30)])], 10) == 1.0

    def test_fewer_than_k_can_be_all_there_are(self) -> None:
        documents = vectors(4, 12, 1)
        question = documents[0]
        truth = Truth(Forward.of(documents), [question])
        found = by_hand(documents, question)

        assert truth.recall([0], [answer(found)], 10) == 1.0
        assert truth.recall([0], [answer(found[1:])], 10) == 1 - 1 / len(found)

    def test_postings_are_those_of_the_questions_terms(self, truth: Truth) -> None:
        shared = [
            sum(len(np.intersect1d(each.indices, question.indices)) for each in self.documents)
            for question in self.questions
        ]

        assert truth.postings(range(20)) == pytest.approx(sum(shared) / 20)


def test_scores_agree_whatever_the_order_of_ties_and_the_places_that_score_nothing() -> None:
    mine = answer([(2.0, 1), (1.0, 2), (1.0, 3)])
    other = answer([(2.0 + 1e-6, 1), (1.0, 3), (1.0, 2), (0.0, 9)])
    wrong = answer([(2.0, 1), (1.001, 3), (1.0, 2)])

    assert equal_scores([mine, mine], [other, wrong]) == 0.5


class TestInputs:
    def test_a_file_gives_back_what_was_written_piece_by_piece(self, tmp_path: Path) -> None:
        pieces = [Forward.of(vectors(7, 5, 1)), Forward.of(vectors(4, 9, 2))]
        asked = vectors(3, 4, 3)
        inputs.write(tmp_path / "v.npz", lambda: pieces, asked)

        read = inputs.load(tmp_path / "v.npz")
        few = inputs.load(tmp_path / "v.npz", 2)
        questions = inputs.load_questions(tmp_path / "v.npz", 2)

        assert len(read) == 11
        assert read.terms.tolist() == [*pieces[0].terms.tolist(), *pieces[1].terms.tolist()]
        assert read.weights.tolist() == [*pieces[0].weights.tolist(), *pieces[1].weights.tolist()]
        assert read.row(8).indices.tolist() == pieces[1].row(1).indices.tolist()
        assert len(few) == 2
        assert few.terms.tolist() == pieces[0].terms[:10].tolist()
        assert [each.values.tolist() for each in questions] == [
            each.values.tolist() for each in asked[:2]
        ]

    def test_a_sample_holds_different_rows_in_order(self) -> None:
        rows = inputs.sample(100, 30, 1)

        assert len(rows) == 30
        assert (np.diff(rows) > 0).all()
        assert rows.tolist() == inputs.sample(100, 30, 1).tolist()
        assert inputs.sample(5, 30, 1).tolist() == [0, 1, 2, 3, 4]


class TestPayloads:
    def test_each_filter_lets_its_share_pass(self) -> None:
        documents = 2000
        made = payloads.Payloads(documents)
        all_of = [made.of(row) for row in range(documents)]

        for name, each in payloads.filters(documents).items():
            passing = sum(not dropped_by(each, row, None, all_of[row]) for row in range(documents))
            if name == payloads.NESTED:
                assert 0.3 < passing / documents < 0.6
            else:
                assert f"{passing / documents:.1%}" == name.split()[1]

    def test_neighbours_share_one_word_and_not_the_other(self) -> None:
        made = payloads.Payloads(2000)
        changes = {
            field: sum(made.of(row)[field] != made.of(row + 1)[field] for row in range(1999))
            for field in ("contiguous", "random")
        }

        assert changes["contiguous"] == len(payloads.SHARES)
        assert changes["random"] > 500

    def test_they_can_be_stored(self) -> None:
        assert codec.write_payload(payloads.Payloads(10).of(3))


@given(st.integers(64, 30_000))
def test_layers_and_tail_hold_every_document_last_where_it_belongs(documents: int) -> None:
    layers = [*shapes.layers(documents), shapes.tail(documents)]
    newest = {row: number for number, layer in enumerate(layers) for row in layer.tolist()}
    stored = sum(map(len, layers))

    assert sorted(newest) == list(range(documents))
    assert all(len(np.unique(layer)) == len(layer) for layer in layers)
    if documents >= 11_000:
        assert (stored - documents) / documents == pytest.approx(shapes.DEAD_SHARE, abs=0.001)


class TestReplicas:
    base = Forward.of(
        [
            SparseVector(each.indices, (np.rint(each.values * 64) / 64).clip(1 / 64))
            for each in vectors(300, 12, 1)
        ]
    )

    def test_a_replica_drops_terms_and_moves_weights(self) -> None:
        one = replicas.replica(self.base, 0)

        assert 0.85 < len(one.terms) / len(self.base.terms) < 0.95
        one.check(VOCABULARY)
        for row in range(len(one)):
            mine, from_base = one.row(row), self.base.row(row)
            known = dict(zip(from_base.indices.tolist(), from_base.values.tolist(), strict=True))
            for term, weight in zip(mine.indices.tolist(), mine.values.tolist(), strict=True):
                assert abs(weight - known[term]) <= 0.1001 * known[term] + 1 / 128

    def test_every_replica_is_another_and_the_same_each_time(self) -> None:
        one, two = replicas.replica(self.base, 0), replicas.replica(self.base, 1)

        assert one.weights.tolist() == replicas.replica(self.base, 0).weights.tolist()
        assert one.weights.tolist() != two.weights.tolist()


class TestPassages:
    tokens = passages.Tokens(
        np.array([0, 4, 6, 9]), np.array([0, 1, 0, 2, 1, 3, 2, 2, 2], np.int32), 4
    )

    def test_impacts_are_bm25(self) -> None:
        made = passages.impacts(self.tokens)
        lengths, having = [4, 2, 3], [1, 2, 2, 1]
        counts = [{0: 2, 1: 1, 2: 1}, {1: 1, 3: 1}, {2: 3}]

        for row, each in enumerate(counts):
            norm = 0.9 * (0.6 + 0.4 * lengths[row] / 3)
            expected = [
                math.log(1 + (3 - having[term] + 0.5) / (having[term] + 0.5)) * tf / (tf + norm)
                for term, tf in each.items()
            ]
            assert made.row(row).indices.tolist() == list(each)
            assert made.row(row).values.tolist() == pytest.approx(expected, rel=1e-6)

    def test_questions_have_different_words_of_one_passage(self) -> None:
        asked = passages.questions(self.tokens, 50)
        texts = [{0, 1, 2}, {1, 3}]

        assert len(asked) == 50
        for each in asked:
            assert len(each) in passages.WORDS
            assert any(set(each.indices.tolist()) <= text for text in texts)
            assert (np.diff(each.indices.astype(np.int64)) > 0).all()


class TestRow:
    @pytest.mark.parametrize(
        ("row", "met"),
        [
            (Row(1, "", 0.5, "ms", "peer", 1.0, 0.5), True),
            (Row(1, "", 0.51, "ms", "peer", 1.0, 0.5), False),
            (Row(1, "", 1.0, "ms", "peer", 1.0, 1.0, "<"), False),
            (Row(1, "", 1.8, "q/s", "one", 1.0, 1.8, "≥"), True),
            (Row(1, "", 9.0, "bytes", required=10, absolute=True), True),
            (Row(1, "", 11.0, "bytes", "peer", 99.0, 10, absolute=True), False),
            (Row(1, "", 9.0, "ms", required=0.5), None),
            (Row(1, "", 9.0, "ms", "peer", 1.0), None),
        ],
    )
    def test_met(self, row: Row, met: bool | None) -> None:
        assert row.met is met


class TestWorker:
    """The engine's own worker, over pipes, as a run starts it."""

    @pytest.fixture
    def worker(self, file: Path) -> Iterator[Worker]:
        worker = Worker("ours", [sys.executable, "-m", "bench.search.worker"], quiet=False)
        try:
            worker.build(str(file), None, None, limit=120)
            yield worker
        finally:
            worker.end()

    def test_all_shapes_answer_exactly(self, worker: Worker, file: Path) -> None:
        truth = Truth(inputs.load(file), inputs.load_questions(file))
        for name in ("layered", "filtered"):
            worker("shape", name)
        jobs = [
            Job(worker, name, {"collection": name}) for name in ("merged", "layered", "filtered")
        ]

        timings, failed = take_turns(jobs, range(20), 10, rounds=2, chunk=7)
        rates = worker("threads", 10, {}, range(20), 2)
        passing = worker("passing")

        assert not failed
        assert rates.keys() == {"py1", "py2", "loop1", "loop2"}
        assert passing["random 50.0%"] == 120
        for job in jobs:
            timing = timings[job]
            assert np.isfinite(timing.seconds).all()
            assert truth.recall(range(20), timing.answers, 10) == 1.0
            for one, other in zip(timing.answers, timings[jobs[0]].answers, strict=True):
                assert one.ids.tolist() == other.ids.tolist()

    def test_what_an_engine_refuses_is_said_and_the_others_go_on(self, worker: Worker) -> None:
        good, bad = Job(worker, "good"), Job(worker, "bad", {"collection": "unknown"})

        timings, failed = take_turns([good, bad], range(5), 10, rounds=1)

        assert list(timings) == [good]
        assert "unknown" in failed[bad]

    def test_an_engine_that_dies_is_noticed(self) -> None:
        worker = Worker("dead", [sys.executable, "-c", "raise SystemExit(3)"], quiet=True)

        with pytest.raises(EngineFailed, match="exit code 3"):
            worker("build", "", None, None)
        worker.end()
