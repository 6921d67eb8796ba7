"""The kernel of SPLADE's head against NumPy: by Triton's interpreter, or on a GPU if there is one.

What the compiler makes of the kernel is looked at too, which takes no GPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

torch: Any = pytest.importorskip(
    "torch", reason="PyTorch is not installed: it belongs to Triton's Python"
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    # Read when triton is imported, and no more afterwards.
    os.environ["TRITON_INTERPRET"] = "1"
triton: Any = pytest.importorskip(
    "triton", reason="OpenAI's Triton is not installed: it comes with PyTorch for CUDA"
)
fused: Any = import_module("sparsegate_server.models.fused_head")

# The interpreter makes plain numbers of arrays of one.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Conversion of an array with ndim:DeprecationWarning"
)

TYPES = ("float16", "float32")
NEAR = {"float16": 2e-3, "float32": 1e-4}
"""Sums of float32, of products that are exact for float16, against float64."""
SMALL = fused.Tile(16, 16, 4, 2)
"""So that small arrays have several tiles."""
TILES = (*fused.TILES, SMALL)


class Case:
    """Random weights and states, and what the head makes of them by the formula."""

    def __init__(
        self, seed: int, batch: int, length: int, hidden: int, vocabulary: int, dtype: str
    ) -> None:
        random = np.random.default_rng(seed)
        scale = hidden**-0.5
        self.decoder = (scale * random.standard_normal((vocabulary, hidden))).astype(dtype)
        self.bias = random.standard_normal(vocabulary).astype(np.float32)
        self.h = random.standard_normal((batch, length, hidden)).astype(dtype)
        self.mask = (random.random((batch, length)) < random.random()).astype(np.int32)
        self.near = NEAR[dtype]

    @property
    def logits(self) -> NDArray[np.float64]:
        """-inf for padding."""
        logits = self.h.astype(np.float64) @ self.decoder.T.astype(np.float64) + self.bias
        return np.where(self.mask[:, :, None] != 0, logits, -np.inf)

    def run(self, tile: Any = SMALL, *, positions: bool = True) -> Any:
        decoder, bias, h, mask = (
            torch.from_numpy(each).to(DEVICE)
            for each in (self.decoder, self.bias, self.h, self.mask)
        )
        head = fused.FusedHead(decoder, bias, tile, positions=positions)
        found = head(h, mask)
        return tuple(None if each is None else each.cpu().numpy() for each in found)

    def check(self, tile: Any = SMALL) -> None:
        logits = self.logits
        scores, positions = self.run(tile)
        assert (scores.dtype, positions.dtype) == (np.float32, np.int32)
        np.testing.assert_allclose(scores, logits.max(axis=1), atol=self.near, rtol=0)
        # Of nearly equal tokens, rounding chooses; never padding, if there is anything else.
        chosen = np.take_along_axis(logits, positions[:, None, :], axis=1)[:, 0]
        np.testing.assert_allclose(chosen, scores, atol=self.near, rtol=0)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 3),
    length=st.integers(1, 150),
    hidden=st.integers(1, 40),
    vocabulary=st.integers(1, 40),
    dtype=st.sampled_from(TYPES),
)
def test_scores_and_positions_are_those_of_the_formula(
    seed: int, batch: int, length: int, hidden: int, vocabulary: int, dtype: str
) -> None:
    Case(seed, batch, length, hidden, vocabulary, dtype).check()


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("hidden", [96, 312, 768])
def test_no_size_need_be_a_multiple_of_a_tile(tile: Any, dtype: str, hidden: int) -> None:
    for seed, length in enumerate((16, 17, 100, 130)):
        Case(seed, 2, length, hidden, 300, dtype).check(tile)


@pytest.mark.parametrize("dtype", TYPES)
def test_maxima_below_zero_stay(dtype: str) -> None:
    """A maximum that began at 0, or took in zeros from beyond an end, would hide them."""
    case = Case(1, 3, 21, 24, 37, dtype)
    case.mask[:, ::2] = 1
    case.bias -= 100
    scores, _ = case.run()
    assert (scores < -50).all()
    case.check()
    case.bias += 100
    case.h[...] = np.abs(case.h)
    case.decoder[...] = -np.abs(case.decoder)
    scores, _ = case.run()
    assert (scores < case.bias).all()
    case.check()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("first", [0, 5, 127, 128, 140])
def test_the_first_of_equal_tokens_is_taken(dtype: str, first: int) -> None:
    """Within a tile of 128 tokens and across them; the padding before it is equal too."""
    case = Case(2, 2, 150, 24, 37, dtype)
    # Small integers, whose sums are exact in any order.
    case.h[:] = np.round(4 * case.h[:, :1])
    case.decoder[:] = np.round(16 * case.decoder)
    case.mask[:] = 1
    case.mask[:, :first] = 0
    _, positions = case.run()
    assert (positions == first).all()


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf, 6e4])
def test_padding_is_of_no_effect_whatever_it_holds(value: float) -> None:
    case = Case(3, 2, 40, 24, 37, "float16")
    case.mask[:, 1::2] = 1
    before = case.run()
    case.h[case.mask == 0] = value
    for found, expected in zip(case.run(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_text_without_tokens_has_no_scores() -> None:
    case = Case(4, 3, 20, 24, 37, "float16")
    case.mask[1] = 0
    case.mask[::2, 0] = 1
    scores, positions = case.run()
    assert (scores[1] == -np.inf).all()
    assert (positions[1] == 0).all()
    assert np.isfinite(scores[::2]).all()


@pytest.mark.parametrize("tile", TILES)
def test_scores_do_not_depend_on_positions(tile: Any) -> None:
    case = Case(5, 2, 33, 96, 50, "float16")
    scores, positions = case.run(tile, positions=False)
    assert positions is None
    np.testing.assert_array_equal(scores, case.run(tile)[0])


def test_texts_do_not_change_their_neighbours() -> None:
    case = Case(6, 4, 33, 96, 50, "float16")
    together = case.run()
    h, mask = case.h, case.mask
    for text in range(4):
        case.h, case.mask = h[text : text + 1], mask[text : text + 1]
        for alone, both in zip(case.run(), together, strict=True):
            np.testing.assert_array_equal(alone[0], both[text])


def test_the_widest_tile_that_the_device_has_room_for_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = torch.zeros(20, 16, device=DEVICE), torch.zeros(20, device=DEVICE)
    assert fused.fused_head(*weights, [16, 32], positions=True).tile == fused.TILES[0]
    run = fused.FusedHead.__call__

    def short_of_memory(head: Any, h: Any, mask: Any) -> Any:
        if head.tile.step > room:
            raise triton.OutOfResources(100, 64, "shared memory")
        return run(head, h, mask)

    monkeypatch.setattr(fused.FusedHead, "__call__", short_of_memory)
    room = 32
    assert fused.fused_head(*weights, [16, 32], positions=True).tile == fused.TILES[1]
    room = 16
    with pytest.raises(triton.OutOfResources):
        fused.fused_head(*weights, [16, 32], positions=True)


def test_a_decoder_past_32_bit_offsets_is_refused() -> None:
    decoder = torch.zeros(1, 1, dtype=torch.float16).expand(2**21, 1024)
    with pytest.raises(ValueError, match="2147483648 numbers is too large"):
        fused.FusedHead(decoder, torch.zeros(1), SMALL, positions=False)


COMPILE = """
import os, re, subprocess, sys, tempfile
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, AttrsDescriptor
from sparsegate_server.models.fused_head import TILES, _maxima

tool = os.path.join(os.path.dirname(triton.__file__), "backends/nvidia/bin/cuobjdump")
for capability, tile in ((75, TILES[1]), (80, TILES[0]), (86, TILES[0]), (90, TILES[0])):
    for positions in (False, True):
        pointers = ["*fp16", "*i32", "*fp16", "*fp32", "*fp32", "*i32" if positions else "*fp32"]
        source = ASTSource(
            _maxima,
            signature=dict(enumerate([*pointers, "i32"])),
            constants=dict(enumerate([768, 30522, positions, 128, tile.terms, tile.step], 7)),
            attrs=AttrsDescriptor(divisible_by_16=tuple(range(6)), equal_to_1=()),
        )
        options = {"num_warps": tile.warps, "num_stages": tile.stages}
        kernel = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(kernel.asm["cubin"])
            file.flush()
            used = subprocess.check_output([tool, "-res-usage", file.name], text=True)
        stack = re.search(r"STACK:(\\d+)", used).group(1)
        products = len(re.findall(r"mma\\.sync|wgmma\\.mma_async", kernel.asm["ptx"]))
        print(capability, kernel.metadata.shared, stack, products)
"""


@pytest.mark.skipif(
    not triton.__version__.startswith("3.0."),
    reason="other compilers than Triton 3.0's are called otherwise, and allot otherwise",
)
def test_the_compiler_fits_each_tile_into_its_gpus(tmp_path: Path) -> None:
    """The interpreter takes what the compiler does not, so both must see the kernel."""
    variables = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    variables["PYTHONPATH"] = os.pathsep.join(sys.path)
    variables["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lent = {75: 64, 80: 163, 86: 99, 90: 227}
    lines = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    assert len(lines) == 2 * len(lent)
    for capability, shared, stack, products in lines:
        assert shared <= lent[capability] * 1024
        assert products > 0, "no tensor cores"
        if capability >= 80:
            assert stack == 0, "registers spill into memory"
