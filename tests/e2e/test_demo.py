"""The demo as a newcomer runs it, on both inference backends."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\s+(\d+)\s+(\d+\.\d{4})\s+(\d+)\s+(\S.*?)\s{2,}", re.MULTILINE)


def run_demo(inference: str) -> str:
    done = subprocess.run(
        [sys.executable, "examples/movies/demo.py", "--inference", inference],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def onnx() -> str:
    return run_demo("onnx")


def ranking(output: str) -> list[tuple[int, float, int, str]]:
    return [(int(r), float(s), int(i), name) for r, s, i, name in ROW.findall(output)]


def test_the_first_film_is_about_music(onnx: str) -> None:
    rows = ranking(onnx)
    assert len(rows) == 5
    assert rows[0][3] == "This Is Spinal Tap"
    assert "What the question became" in onnx
    assert "Why “This Is Spinal Tap”" in onnx


def test_triton_ranks_and_scores_alike(onnx: str) -> None:
    output = run_demo("triton")
    if "Triton cannot run here" in output:
        pytest.skip(output.split("Triton cannot run here: ")[1].splitlines()[0])
    there, here = ranking(output), ranking(onnx)
    assert [row[2:] for row in there] == [row[2:] for row in here]
    for (_, score, *_), (_, other, *_) in zip(there, here, strict=True):
        assert score == pytest.approx(other, abs=1e-3)
