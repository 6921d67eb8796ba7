"""The serving benchmark's own arithmetic: nDCG, loads and their schedules, rows, and its data."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from bench.report import Row
from bench.serving.ingest import shares
from bench.serving.load import Load, arrivals, closed_loop, each_once, open_loop
from bench.serving.rounds import in_turns, orders
from bench.serving.stand import total, without_batching
from bench.serving.texts import Beir, mixed, unseen
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.models.triton_config import config_of, write_config
from sparsegate_server.parity.measures import ndcg

REPOSITORY = Path(__file__).parents[3] / "model_repository"


@pytest.mark.parametrize(
    ("ranking", "gains", "expected"),
    [
        ([7, 8, 9], {7: 1}, 1.0),
        ([8, 7, 9], {7: 1}, 0.6309297535714575),  # 1 ÷ log2(3)
        ([8, 9], {7: 1}, 0.0),
        ([], {7: 1}, 0.0),
        # (1 + 3 ÷ log2(3)) ÷ (3 + 1 ÷ log2(3)): gains are the grades, not two to their power
        ([1, 2], {1: 1, 2: 3}, 0.7967075809905066),
        # of two relevant documents one is found, third
        ([5, 6, 1], {1: 1, 2: 1}, 0.5 / 1.6309297535714575),
    ],
)
def test_ndcg_by_hand(ranking: list[int], gains: dict[int, int], expected: float) -> None:
    assert ndcg(ranking, gains) == pytest.approx(expected, abs=1e-12)


def test_ndcg_counts_ten_ranks_of_the_ranking_and_of_the_best() -> None:
    assert ndcg([*range(100, 110), 1], {1: 1}) == 0
    many = dict.fromkeys(range(20), 1)
    assert ndcg(range(10), many) == pytest.approx(1.0)


@given(st.dictionaries(st.integers(0, 30), st.integers(1, 3), min_size=1), st.randoms())
def test_no_order_is_better_than_that_by_gain(gains: dict[int, int], random: object) -> None:
    best = sorted(gains, key=lambda document: -gains[document])
    assert ndcg(best, gains) == pytest.approx(1.0)
    assert 0 <= ndcg(best[::-1], gains) <= 1 + 1e-12


@given(st.floats(20, 500), st.floats(1, 20), st.integers(0, 2**32))
def test_arrivals_come_at_the_rate_within_the_time(rate: float, seconds: float, seed: int) -> None:
    moments = arrivals(rate, seconds, seed)
    assert (np.diff(moments) >= 0).all()
    assert moments[0] >= 0
    assert moments[-1] < seconds
    # Six standard deviations of a Poisson count.
    assert abs(len(moments) - rate * seconds) < 6 * math.sqrt(rate * seconds) + 1


def test_arrivals_are_those_of_the_seed() -> None:
    assert (arrivals(50, 2, 3) == arrivals(50, 2, 3)).all()
    assert not np.array_equal(arrivals(50, 2, 3), arrivals(50, 2, 4))


async def test_an_open_loop_counts_the_wait_for_a_stalled_service() -> None:
    """A service that stands still for 0.2 s: whoever was due meanwhile has waited for the rest."""
    free_at = time.perf_counter() + 0.2

    async def call(text: str) -> None:
        await asyncio.sleep(max(0.0, free_at - time.perf_counter()))

    load = Load()
    await open_loop([call], itertools.repeat("text"), np.arange(20) / 100, load)
    assert load.answered == 20
    assert 85 < load.percentile(50) < 160
    assert load.percentile(100) > 190
    assert 0.19 < load.seconds < 1


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    most = under_way = 0

    async def call(text: str) -> None:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.1)
        under_way -= 1

    await open_loop([call], itertools.repeat("text"), np.zeros(30), Load())
    assert most == 30


async def test_a_closed_loop_has_one_request_a_caller() -> None:
    under_way = [0, 0]
    asked = []

    async def call(at: int, text: str) -> None:
        under_way[at] += 1
        assert under_way[at] == 1
        asked.append(text)
        await asyncio.sleep(0.01)
        under_way[at] -= 1

    load = Load()
    calls = [lambda text, at=at: call(at, text) for at in range(2)]
    await closed_loop(calls, map(str, itertools.count()), 0.1, load)
    assert asked == [str(at) for at in range(load.answered)]
    assert 8 <= load.answered <= 22
    assert load.rate == pytest.approx(load.answered / load.seconds)


async def test_each_text_is_asked_once_whoever_is_free() -> None:
    asked = []

    async def call(text: str) -> None:
        asked.append(text)
        await asyncio.sleep(0.001)

    load = Load()
    texts = [str(at) for at in range(50)]
    await each_once([call] * 7, texts, load)
    assert sorted(asked) == sorted(texts)
    assert load.answered == 50


async def test_failures_are_counted_and_make_no_percentile_better() -> None:
    async def call(text: str) -> None:
        if text == "bad":
            raise ValueError("no such word")

    load = Load()
    await each_once([call], ["good", "bad", "good"], load)
    assert (load.answered, load.failed, load.why) == (2, 1, "no such word")
    assert load.percentile(50) < 1000
    assert load.percentile(99) > 100_000
    assert "1 failed: no such word" in load.described()


def test_nothing_asked_has_no_percentile() -> None:
    assert math.isnan(Load().percentile(50))


async def test_loads_take_turns_there_and_back() -> None:
    seen = []

    async def run(name: str, load: Load, number: int) -> None:
        seen.append(f"{name}{number}")
        load.answered += 1

    loads = await in_turns(("a", "b"), 3, run)
    assert seen == ["a0", "b0", "b1", "a1", "a2", "b2"]
    assert {name: load.answered for name, load in loads.items()} == {"a": 3, "b": 3}
    assert [list(each) for each in orders(["x", "y", "z"], 2)] == [["x", "y", "z"], ["z", "y", "x"]]


@pytest.mark.parametrize(
    ("row", "ratio", "met"),
    [
        (Row(1, "", 8.0, "", "peer", 2.0, 4.0, "≥"), 4.0, True),
        (Row(1, "", 7.9, "", "peer", 2.0, 4.0, "≥"), 3.95, False),
        (Row(3, "", 3.0, "", "peer", 2.0, 1.5), 1.5, True),
        (Row(6, "", 6.0, "", required=6.0, absolute=True), None, True),
        (Row(6, "", 6.1, "", required=6.0, absolute=True), None, False),
        (Row(8, "", 0.6450, "", "peer", 0.6466, 0.002, "±"), 0.6450 / 0.6466, True),
        (Row(8, "", 0.6480, "", "peer", 0.6466, 0.002, "±"), 0.6480 / 0.6466, True),
        (Row(8, "", 0.6440, "", "peer", 0.6466, 0.002, "±"), 0.6440 / 0.6466, False),
        (Row(8, "", 0.6440, "", required=0.002, sense="±"), None, None),
        (Row(1, "", 8.0, "", required=4.0, sense="≥"), None, None),
        (Row(3, "", float("nan"), "", "peer", 2.0, 1.5), float("nan"), None),
    ],
)
def test_whether_a_bar_is_met(row: Row, ratio: float | None, met: bool | None) -> None:
    assert row.met is met
    assert row.ratio == (None if ratio is None else pytest.approx(ratio, nan_ok=True))


@given(st.integers(0, 60), st.integers(1, 4), st.integers(1, 8))
def test_shares_are_whole_batches_dealt_in_turn(count: int, number: int, batch: int) -> None:
    documents = [str(at) for at in range(count)]
    dealt = shares(documents, number, batch)
    assert len(dealt) == number
    assert sorted(itertools.chain(*dealt), key=int) == documents
    for at, share in enumerate(dealt):
        assert all(int(each) // batch % number == at for each in share)


def test_mixed_texts_have_all_lengths() -> None:
    documents = [" ".join(f"w{at}" for at in range(200)), "short text"]
    texts = mixed(documents, 1000)
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) <= 4
    assert 100 < max(lengths) <= 128
    assert texts == mixed(documents, 1000)
    long = [length for length in lengths if length > 2]
    assert 16 < np.median(long) < 32  # the middle of 4 and 128 on a logarithmic scale is 22.6


def test_texts_come_again_as_new_ones_of_the_same_words() -> None:
    texts = list(itertools.islice(unseen(["a b", "c"]), 7))
    assert [each.strip() for each in texts] == ["a b", "c", "a b", "c", "a b", "c", "a b"]
    assert len(set(texts)) == 7


def test_a_collection_counts_gains_by_position(tmp_path: Path) -> None:
    corpus = [{"_id": "d7", "title": "T", "text": "x"}, {"_id": "d1", "title": "", "text": ""}]
    queries = [{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "qrels").mkdir()
    judgements = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td7\t0\nq2\td7\t0\nq1\tgone\t1\n"
    (tmp_path / "qrels/test.tsv").write_text(judgements)
    read = Beir.read(tmp_path)
    assert list(read.documents) == ["T x", " "]
    assert read.questions == {"q1": "one", "q2": "two"}
    assert read.judged == {"q1": {1: 2}}  # q2 has no relevant document


def test_a_counter_is_the_sum_of_its_series() -> None:
    page = (
        "# HELP nv_inference_count Number\n"
        'nv_inference_count{model="a",version="1"} 12\n'
        'nv_inference_count{model="b",version="1"} 3.5\n'
        'nv_inference_count_other{model="b"} 100\n'
        "plain_total 2.0\n"
    )
    assert total(page, "nv_inference_count") == 15.5
    assert total(page, "plain_total") == 2
    assert total(page, "absent") == 0


def test_only_the_dynamic_batcher_is_taken_from_a_configuration() -> None:
    config = write_config(config_of(ModelSpec.load(REPOSITORY / "splade-tiny")))
    bare = without_batching(config)
    assert "dynamic_batching" not in bare
    assert "max_queue_size" not in bare
    for kept in ("max_batch_size: 32", "instance_group", "sparsegate_fingerprint", "TYPE_UINT16"):
        assert kept in bare
    assert bare.count("{") == bare.count("}")
    with pytest.raises(ValueError, match="substring not found"):
        without_batching(bare)
