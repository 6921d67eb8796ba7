"""Limits: what passes, what does not, and what is recorded of it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.execution import export_command
from sparsegate_server.models.spec import ModelIdentity, ModelSpec, Precision
from sparsegate_server.models.verification import Verification
from sparsegate_server.parity import gate

GOOD = gate.Findings(
    precision="int8",
    runtime="onnxruntime, cpu",
    reference="float32 graph",
    text="some",
    text_sha256="abc",
    documents=30,
    queries=8,
    not_finite=0,
    max_difference=0.012345,
    overlap=0.98,
    reference_ndcg=0.5,
    ndcg=0.495001,
    reference_speed=100.0,
    speed=120.0,
)


@pytest.mark.parametrize(
    ("precision", "change", "failed"),
    [
        ("int8", {}, ()),
        ("int8", {"overlap": 0.9799}, ("overlap",)),
        ("int8", {"ndcg": 0.4949}, ("ndcg_change",)),
        ("int8", {"ndcg": 0.5051}, ("ndcg_change",)),
        ("int8", {"speed": 119.0}, ("speedup",)),
        ("int8", {"speed": 0.0, "overlap": 0.5}, ("overlap", "speedup")),
        ("int8", {"not_finite": 1}, ("not_finite",)),
        ("fp16", {}, ()),
        ("fp16", {"speed": 10.0}, ()),
        ("fp16", {"overlap": 0.9799}, ("overlap",)),
        ("fp16", {"max_difference": 9.0}, ()),
        ("fp32", {"max_difference": 1e-4}, ()),
        ("fp32", {"max_difference": 1.1e-4}, ("max_difference",)),
        ("fp32", {"max_difference": 0.0, "overlap": 0.5, "ndcg": 0.1}, ()),
        ("fp32", {"max_difference": 0.0, "not_finite": 2}, ("not_finite",)),
        ("fp32", {"max_difference": float("nan")}, ("max_difference",)),
    ],
)
def test_limits(precision: Precision, change: dict[str, float], failed: tuple[str, ...]) -> None:
    found = replace(GOOD, precision=precision, **change)
    assert tuple(each.name for each in gate.failed(found)) == failed
    assert gate.as_json("m", "f", found)["passed"] == (not failed)
    if not failed:
        assert not gate.admit("m", found, force=False).forced
        return
    with pytest.raises(ModelSourceError, match=r"'m' is not exported: .*--force"):
        gate.admit("m", found, force=False)
    forced = gate.admit("m", found, force=True)
    assert forced.forced
    assert forced.failed == failed


def test_a_refusal_says_what_was_asked() -> None:
    with pytest.raises(ModelSourceError, match=r"overlap@10 0\.9000, asked for ≥ 0\.98"):
        gate.admit("m", replace(GOOD, overlap=0.9), force=False)
    with pytest.raises(ModelSourceError, match=r"speed 1\.10 × fp32 .*, asked for ≥ 1\.2 ×"):
        gate.admit("m", replace(GOOD, speed=110.0), force=False)


def test_a_record_has_neither_speeds_nor_noise() -> None:
    record = gate.record(GOOD)
    assert record == gate.record(replace(GOOD, speed=200.0, max_difference=0.012399))
    assert record.max_difference == 0.012
    assert record.ndcg == 0.495
    assert record.limits == {
        "not_finite": 0,
        "overlap": 0.98,
        "ndcg_change": 0.005,
        "speedup": 1.2,
    }


def test_a_record_survives_json() -> None:
    record = gate.record(replace(GOOD, overlap=0.1))
    assert Verification.from_dict(json.loads(json.dumps(asdict(record)))) == record


def test_a_description_has_no_record() -> None:
    identity = ModelIdentity("splade", "", "", 4)
    plain = ModelSpec("m", identity, precision="int8")
    verified = replace(plain, verified=gate.record(GOOD))
    assert ModelSpec.from_json(verified.to_json()) == plain
    assert verified.fingerprint == plain.fingerprint
    # Nobody could tell which graph it is of.
    raw = {**json.loads(plain.to_json()), "verified": asdict(gate.record(GOOD))}
    with pytest.raises(ModelSourceError, match=r"a record of `model verify`.*export .* again"):
        ModelSpec.from_json(json.dumps(raw))


def test_what_is_forced_is_exported_again_by_force() -> None:
    spec = ModelSpec("m", ModelIdentity("splade", "", "", 4), precision="int8", source="s")
    assert "--force" not in export_command(replace(spec, verified=gate.record(GOOD)))
    forced = gate.record(replace(GOOD, overlap=0.1))
    assert export_command(replace(spec, verified=forced)).endswith(" --force")


def test_the_list_of_checks_is_the_same_for_machines() -> None:
    found = replace(GOOD, speed=10.0)
    raw = json.loads(json.dumps(gate.as_json("m", "f", found)))
    assert raw["failed"] == ["speedup"]
    assert raw["limits"] == gate.limits("int8")
    assert raw["speedup"] == pytest.approx(0.1)
    assert {check.name for check in gate.checks(found) if check.limit} == set(raw["limits"])
