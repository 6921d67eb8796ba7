"""The gate: a graph against its reference on real text, and what it must keep to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.execution import export_command
from sparsegate_server.models.spec import ModelSpec, Precision
from sparsegate_server.models.verification import Verification

MAX_DIFFERENCE = 1e-4
"""Of a weight, for float32; of a weight above 1 that is a sum over tokens, relative to it."""
MIN_OVERLAP = 0.98
MAX_NDCG_CHANGE = 0.005
MIN_SPEEDUP = 1.2
"""Of int8 over float32 on one core: below it, nobody would give up exactness for it."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a comparison measured.

    Attributes:
        precision: of the graph.
        runtime: what ran it.
        reference: what it was held against.
        text: the name of the test collection.
        text_sha256: of the collection, as hex.
        documents, queries: how many were compared; texts that the model knows no part of are left
            out.
        not_finite: texts for which the graph gave a number that is NaN or infinite.
        max_difference: greatest difference of a term's weight, over all other texts; where weights
            are sums over tokens, relative to those above 1.
        overlap: mean overlap@10 of the queries.
        reference_ndcg, ndcg: nDCG@10 of the reference and of the graph.
        reference_speed, speed: documents a second of the float32 graph and of this one, one thread;
            0 where they were not measured.
    """

    precision: Precision
    runtime: str
    reference: str
    text: str
    text_sha256: str
    documents: int
    queries: int
    not_finite: int
    max_difference: float
    overlap: float
    reference_ndcg: float
    ndcg: float
    reference_speed: float = 0.0
    speed: float = 0.0

    @property
    def ndcg_change(self) -> float:
        return self.ndcg - self.reference_ndcg

    @property
    def speedup(self) -> float:
        """How many times as fast as float32; 0 where it was not measured."""
        return self.speed / self.reference_speed if self.reference_speed else 0.0


@dataclass(frozen=True, slots=True)
class Check:
    """One measure and what is asked of it.

    Attributes:
        name: as it is recorded.
        label: for people.
        value: what was measured, for people.
        limit: what was asked, for people; empty where nothing is.
        passed: whether it holds.
    """

    name: str
    label: str
    value: str
    limit: str
    passed: bool


def limits(precision: Precision) -> dict[str, float]:
    """What a precision must keep to, by the names of the measures."""
    if precision == "fp32":
        return {"not_finite": 0, "max_difference": MAX_DIFFERENCE}
    lossy = {"not_finite": 0, "overlap": MIN_OVERLAP, "ndcg_change": MAX_NDCG_CHANGE}
    return {**lossy, "speedup": MIN_SPEEDUP} if precision == "int8" else lossy


def checks(found: Findings) -> tuple[Check, ...]:
    """Every measure against its limit; a limit that does not apply to the precision is empty."""
    asked = limits(found.precision)

    def check(name: str, label: str, value: str, limit: str, holds: bool) -> Check:
        return Check(name, label, value, limit if name in asked else "", holds or name not in asked)

    change, speedup = found.ndcg_change, found.speedup
    faster = f"{speedup:.2f} × fp32 ({found.speed:.0f} documents/s against "
    faster += f"{found.reference_speed:.0f})"
    return (
        check(
            "not_finite",
            "texts with NaN or infinity",
            str(found.not_finite),
            "0",
            not found.not_finite,
        ),
        check(
            "max_difference",
            "greatest difference of a weight",
            f"{found.max_difference:.2g}",
            f"≤ {MAX_DIFFERENCE:g}",
            found.max_difference <= MAX_DIFFERENCE,
        ),
        check(
            "overlap",
            "overlap@10",
            f"{found.overlap:.4f}",
            f"≥ {MIN_OVERLAP:g}",
            found.overlap >= MIN_OVERLAP,
        ),
        check(
            "ndcg_change",
            "change of nDCG@10",
            f"{change:+.4f} ({found.reference_ndcg:.4f} to {found.ndcg:.4f})",
            f"≤ {MAX_NDCG_CHANGE:g} either way",
            abs(change) <= MAX_NDCG_CHANGE,
        ),
        *(
            [check("speedup", "speed", faster, f"≥ {MIN_SPEEDUP:g} ×", speedup >= MIN_SPEEDUP)]
            if "speedup" in asked
            else []
        ),
    )


def failed(found: Findings) -> tuple[Check, ...]:
    """The measures that are beyond their limits."""
    return tuple(each for each in checks(found) if not each.passed)


def reasons(failures: Sequence[Check]) -> str:
    """What was beyond its limit, in one line."""
    return "; ".join(f"{each.label} {each.value}, asked for {each.limit}" for each in failures)


def refusal(spec: ModelSpec, failures: Sequence[Check]) -> str:
    """What is wrong with a model that lies in a repository, and what to do about it."""
    told = f"{spec.name!r} does not pass: {reasons(failures)}. "
    command = export_command(spec)
    forced = command if "--force" in command.split() else f"{command} --force"
    if spec.precision == "fp32":
        return (
            f"{told}Its graph is not what its checkpoint makes: export it again with `{command}`. "
            "If it still fails, what runs it calculates otherwise: compare without --triton"
        )
    served = "Until then it is served as it was recorded" if spec.verified else "It is not served"
    return (
        f"{told}{served}. `{forced}` records this and serves it all the same; with --precision "
        "fp32 instead, it is exact"
    )


def record(found: Findings) -> Verification:
    """What the model's folder keeps."""
    return Verification(
        runtime=found.runtime,
        reference=found.reference,
        text=found.text,
        text_sha256=found.text_sha256,
        documents=found.documents,
        queries=found.queries,
        max_difference=float(f"{found.max_difference:.2g}"),
        overlap=round(found.overlap, 4),
        reference_ndcg=round(found.reference_ndcg, 4),
        ndcg=round(found.ndcg, 4),
        limits=limits(found.precision),
        failed=tuple(each.name for each in failed(found)),
    )


def admit(name: str, found: Findings, *, force: bool) -> Verification:
    """The record of a graph that may be exported.

    Raises:
        ModelSourceError: it is beyond a limit, and nobody wants it all the same.
    """
    failures = failed(found)
    if failures and not force:
        raise ModelSourceError(
            f"{name!r} is not exported: {reasons(failures)}. Export it as fp32, try text of your "
            "own with --data, or take it as it is with --force, which records this and serves it"
        )
    return record(found)


def as_json(name: str, fingerprint: str, found: Findings) -> dict[str, Any]:
    """All of a comparison, for machines."""
    return {
        "model": name,
        "fingerprint": fingerprint,
        **asdict(found),
        "ndcg_change": found.ndcg_change,
        "speedup": found.speedup,
        "limits": limits(found.precision),
        "failed": [each.name for each in failed(found)],
        "passed": not failed(found),
    }
