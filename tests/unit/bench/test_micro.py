"""Benchmarks of parts, tried with so little that their figures mean nothing."""

from __future__ import annotations

import pytest
from bench.micro import ladder


def test_tiers_find_the_same_whatever_stands_beside_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ladder.main(["--smoke"]) == 0
    shown = capsys.readouterr().out
    for case in ladder.CASES:
        assert shown.count(f" {case} ") == 2


def test_it_asks_for_data() -> None:
    with pytest.raises(SystemExit):
        ladder.main([])
