"""Collections, models and calibrations as the command line shows them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from sparsegate import (
    Alias,
    Calibration,
    Collection,
    EffortPoint,
    Model,
    ModelExecution,
    ModelIdentity,
    PayloadIndex,
    Snapshot,
)
from sparsegate.cli.models import model_table, models_table
from sparsegate.cli.output import plain
from sparsegate.cli.render import (
    aliases_table,
    calibration_table,
    collection_table,
    collections_table,
    indexes_table,
    snapshots_table,
    targets_met,
)

from .screen import facts_of, lines_of, shown

IDENTITY = ModelIdentity(
    "splade", "graph", "a" * 64, "b" * 64, "", "c" * 64, 30522, "max", "log1p", 512, 1024, 0.25,
    tuple(range(1000)),
)  # fmt: skip
MODEL = Model(
    "m", "splade", "", "somewhere", 5, 30522, 512, 1024, "f", "fp32", "terms", "onnx", True,
    identity=IDENTITY, positions=True, triton_backend="python", device="cpu",
)  # fmt: skip
MEASURED = Calibration(
    points=(
        EffortPoint(0.3, 0.91, 0.89, 51_000.4, 0.12),
        EffortPoint(0.625, 0.98, 0.97, 151_000.0, 0.25),
        EffortPoint(1.0, 1.0, 1.0, 503_000.0, 0.5),
    ),
    limit=10,
    queries=500,
    confidence=0.95,
    documents=200_000,
    sequence=7,
)


def test_collections_and_what_belongs_to_them_are_shown() -> None:
    taken = datetime(2024, 5, 1, 12, 30, 15, 250_000, tzinfo=UTC)
    snapshot = Snapshot("films-1", "films", 7, 1_234_567, 2**20, taken)
    text = shown(snapshots_table([snapshot]))
    assert "1,234,567" in text
    assert "1.0 MB" in text
    assert "2024-05-01 12:30 " in text
    assert plain(snapshot)["created"] == "2024-05-01T12:30:15.250000+00:00"
    assert "[b]" in shown(aliases_table([Alias("[b]", "films")]))
    rows = shown(indexes_table([PayloadIndex("a[].b", "keyword", False)]))
    assert "a[].b" in rows
    assert "no" in rows
    films = Collection("films", "m", "f", 10, 1, 3, 7, 1, 9, 0, aliases=("now", "then"))
    assert "now, then" in shown(collections_table([films]))


def test_snapshots_fit_into_80_columns() -> None:
    taken = datetime(2024, 5, 1, 14, 30, 15, tzinfo=timezone(timedelta(hours=2)))
    short = Snapshot("films-1234-20240501T123015Z.snapshot", "films", 1234, 10**7, 10**9, taken)
    heading, _, row, *_ = lines_of(snapshots_table([short]))[1:]
    assert heading.split() == ["snapshot", "documents", "size", "created", "(UTC)"]
    assert row.split() == [short.name, "10,000,000", "1.0", "GB", "2024-05-01", "12:30"]
    shown = lines_of(snapshots_table([replace(short, name="x" * 100)]))
    assert "…" not in "".join(shown)
    assert "".join(shown).count("x") == 100


def test_a_collection_is_shown_in_plain_words() -> None:
    films = Collection(
        "films", "m", "f", 10, 1, 3, 7, 1, 9, 0, problem="disk full", aliases=("now", "then"),
        payload_indexes=(
            PayloadIndex("minutes", "number", True), PayloadIndex("year", "number", False)
        ),
    )  # fmt: skip
    facts = facts_of(collection_table(films))
    assert facts["payload indexes"] == "minutes (number), year (number, building)"
    assert facts["aliases"] == "now, then"
    assert facts["problem"] == "disk full"


def test_a_collection_tells_its_model_in_one_line() -> None:
    films = Collection(
        "films", "m", "f", 10, 1, 3, 7, 1, 9, 0,
        identity=IDENTITY, execution=ModelExecution("int8", "triton"),
    )  # fmt: skip
    text = shown(collection_table(films), width=200)
    assert (
        "splade, max of log1p, queries by a graph of their own, 512 tokens, 1,024 terms,"
        " weights above 0.25, checkpoint aaaaaaaaaaaa " in text
    )
    assert "int8 on triton, when it was created" in text
    whole = plain(films)
    assert whole["identity"]["dropped_terms"] == list(range(1000))
    assert whole["execution"] == {"precision": "int8", "backend": "triton"}


def test_a_model_is_shown_with_its_identity() -> None:
    facts = facts_of(model_table(MODEL))
    assert facts["queries"] == "a graph of their own"
    assert facts["activation"] == "log1p"
    assert facts["threshold"] == "0.25"
    assert facts["dropped terms"] == "1,000"
    assert facts["positions"] == "true"
    told = " ".join(lines_of(models_table([MODEL])))
    for word in ("family", "splade", "a graph of", "onnx", "fp32", "512"):
        assert word in told


def test_what_an_older_gateway_does_not_tell_is_left_out() -> None:
    facts = facts_of(model_table(replace(MODEL, identity=None)))
    assert "queries" not in facts
    assert "fp32" in " ".join(lines_of(models_table([replace(MODEL, identity=None)])))
    films = Collection("films", "m", "f", 10, 1, 3, 7, 1, 9, 0)
    assert "None" not in " ".join(lines_of(collection_table(films)))


def test_a_calibration_is_shown_by_effort() -> None:
    shown = lines_of(calibration_table(MEASURED))
    rows = [line.split() for line in shown if line[:1].isdigit()]
    assert rows == [
        ["0.3", "0.9100", "0.8900", "51,000", "0.120"],
        ["0.625", "0.9800", "0.9700", "151,000", "0.250"],
        ["1", "1.0000", "1.0000", "503,000", "0.500"],
    ]
    assert shown[1].split() == ["effort", "recall@10", "at", "least", "postings", "ms"]
    assert "95% confidence" in " ".join(shown)
    told = targets_met(MEASURED).plain
    assert told == "Target recall → effort: 0.9 → 0.625, 0.95 → 0.625, 0.97 → 0.625, 0.99 → exact."
    films = Collection("films", "m", "f", 10, 1, 3, 7, 1, 9, 0, calibration=MEASURED)
    assert "500 queries, 10 hits each, 200,000 documents then" in " ".join(
        lines_of(collection_table(films))
    )


def test_a_target_is_served_with_the_least_effort_that_surely_reaches_it() -> None:
    efforts = [MEASURED.effort_for(target) for target in (0.5, 0.89, 0.9, 0.97, 0.98, 1.0)]
    assert efforts == [0.3, 0.3, 0.625, 0.625, 1.0, 1.0]
