"""Which graphs are served only with a record of the parity gate, and which record counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sparsegate_server.inference.dummy import DummyBackend
from sparsegate_server.models.verification import Verification, objection
from sparsegate_server.parity.served import connect

from ..parity.small import subject

IN_PROCESS = Verification("onnxruntime, cpu", "numpy", "t", "", 1, 1, 0.0, 1.0, 1.0, 1.0)
ON_TENSORRT = replace(IN_PROCESS, runtime="triton: tensorrt, gpu")
ON_ONNXRUNTIME = replace(IN_PROCESS, runtime="triton: onnxruntime, gpu")
FORCED = replace(IN_PROCESS, failed=("overlap",))


@pytest.mark.parametrize(
    ("precision", "backend", "device", "record", "told"),
    [
        ("fp32", "python", "cpu", None, ""),
        ("fp32", "onnxruntime", "gpu", None, ""),
        ("fp32", "torch", "gpu", None, ""),
        ("int8", "python", "cpu", None, "verify m`, which records it"),
        ("fp16", "onnxruntime", "gpu", None, "is fp16, and it is not known"),
        ("fp16", "onnxruntime", "gpu", IN_PROCESS, ""),
        ("int8", "python", "cpu", FORCED, ""),
        # What TensorRT does with float32 is not in the graph.
        ("fp32", "tensorrt", "gpu", None, "verify m --triton HOST:PORT"),
        ("fp32", "tensorrt", "gpu", IN_PROCESS, "verify m --triton HOST:PORT"),
        ("fp32", "tensorrt", "gpu", ON_ONNXRUNTIME, "nobody has compared what it gives there"),
        ("fp32", "tensorrt", "gpu", ON_TENSORRT, ""),
        ("fp16", "tensorrt", "gpu", IN_PROCESS, "verify m --triton HOST:PORT"),
        ("fp16", "tensorrt", "gpu", ON_TENSORRT, ""),
        ("fp16", "tensorrt", "gpu", FORCED, ""),
        ("fp32", "a later one", "gpu", None, "runs on a later one"),
    ],
)
def test_what_speaks_against_serving(
    precision: str, backend: str, device: str, record: Verification | None, told: str
) -> None:
    found = objection("m", precision, backend, device, record)
    assert bool(found) == bool(told)
    assert told in found


def test_a_record_says_what_ran_the_graph(tmp_path: Path) -> None:
    """In the words of the comparison itself, for a graph in this process and on a server."""
    here = subject(tmp_path)
    assert replace(IN_PROCESS, runtime=here.runtime).made_by("onnxruntime", "cpu")
    assert not replace(IN_PROCESS, runtime=here.runtime).made_by("tensorrt", "gpu")
    with connect(DummyBackend) as graphs:
        spec = replace(here.spec, backend="tensorrt", device="gpu")
        there = replace(here, spec=spec, served=graphs)
        assert replace(IN_PROCESS, runtime=there.runtime).made_by("tensorrt", "gpu")
        assert not replace(IN_PROCESS, runtime=there.runtime).made_by("onnxruntime", "cpu")
