"""SPLADE's head as one kernel: the greatest logit of each term, without the logits in memory.

A document of 128 tokens takes BERT-base 28 GFLOP, of which this head is 2 · 128 · 768 · 30522, or
6 GFLOP; no kernel can save those. Logits in half precision are 7.8 MB a document, written once and
read once; this writes 122 KB of maxima instead, and as much again where positions are asked for.

Written in OpenAI's Triton, which is a language and shares but the name with NVIDIA's server. This
file is copied beside `model.py`, which imports it only on a GPU; it needs torch and triton alone.
https://triton-lang.org/main/python-api/triton.language.html
"""

# Annotations must stay objects here: as strings, Triton's interpreter does not see `constexpr`.

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import triton  # type: ignore[import-not-found]
import triton.language as tl  # type: ignore[import-not-found]

_LEAST_TOKENS, _MOST_TOKENS = 16, 128
"""Rows of a tile of logits: at least those of a tensor core, and no more than fit in registers."""
_MOST_OFFSETS = 2**31


class Tile(NamedTuple):
    """What one program of the kernel works on.

    Attributes:
        terms: columns of a tile of logits.
        step: hidden values that are multiplied at a time.
        warps: of 32 threads, which share the tile of logits.
        stages: steps whose operands are in shared memory at once, being loaded or multiplied.
    """

    terms: int
    step: int
    warps: int
    stages: int


TILES = (Tile(128, 64, 8, 3), Tile(128, 32, 8, 4))
"""From the widest; the first is taken that the device has room for.

With 128 tokens, each of 256 threads holds 64 float32 logits, which leaves three quarters of its 255
registers for operands and addresses. A stage has (128 + 128) · step halves. As Triton 3.0 compiles
them, the first tile takes 100 KiB of the 227 that an H100 lends to a program, and 66 KiB of the 99
or more of an A100, A10 or L4; the second takes 68 and 50, for compilers and GPUs that have less to
give. On these, neither spills a register; 256 terms did, and so did 4 warps.

A table and not `triton.autotune`, which would time its candidates while a graph is recorded.
"""


@triton.jit(do_not_specialize=["length"])  # type: ignore[untyped-decorator]
def _maxima(  # type: ignore[no-untyped-def]
    h,
    mask,
    decoder,
    bias,
    scores,
    positions,
    length,
    hidden: tl.constexpr,
    vocabulary: tl.constexpr,
    with_positions: tl.constexpr,
    tile_tokens: tl.constexpr,
    tile_terms: tl.constexpr,
    step: tl.constexpr,
) -> None:
    """One text and one tile of its terms; the text's tokens go by in tiles.

    Neighbouring programs are texts and share a tile of the decoder, so that it comes from memory
    once a batch while the hidden states of all texts, a few MB, stay in the cache.
    """
    text = tl.program_id(0)
    terms = tl.program_id(1) * tile_terms + tl.arange(0, tile_terms)
    known = terms < vocabulary
    # What is beyond an end reads the last row again, and is not stored or counted.
    term_rows = decoder + tl.minimum(terms, vocabulary - 1)[None, :] * hidden
    best = tl.full((tile_terms,), float("-inf"), tl.float32)
    best_at = tl.zeros((tile_terms,), tl.int32)
    for start in range(0, length, tile_tokens):
        tokens = start + tl.arange(0, tile_tokens)
        token_rows = h + (text * length + tl.minimum(tokens, length - 1))[:, None] * hidden
        logits = tl.zeros((tile_tokens, tile_terms), tl.float32)
        for first in range(0, hidden, step):
            columns = first + tl.arange(0, step)
            inside = columns < hidden
            states = tl.load(token_rows + columns[None, :], mask=inside[None, :], other=0.0)
            rows = tl.load(term_rows + columns[:, None], mask=inside[:, None], other=0.0)
            # By default, float32 operands would be cut to 10 bits of fraction.
            logits = tl.dot(states, rows, logits, input_precision="ieee")
        real = tl.load(mask + text * length + tokens, mask=tokens < length, other=0) != 0
        logits = tl.where(real[:, None], logits, float("-inf"))
        greatest = tl.max(logits, axis=0)
        if with_positions:
            holders = tl.where(logits == greatest[None, :], tokens[:, None], length)
            best_at = tl.where(greatest > best, tl.min(holders, axis=0), best_at)
        best = tl.maximum(best, greatest)
    # The bias is the same for all tokens of a term, and ReLU and log(1 + x) keep order.
    best += tl.load(bias + terms, mask=known, other=0.0)
    tl.store(scores + text * vocabulary + terms, best, mask=known)
    if with_positions:
        tl.store(positions + text * vocabulary + terms, best_at, mask=known)


class FusedHead:
    """Each term's greatest logit over the tokens of a text, and where it is.

    It neither waits for the GPU nor chooses anything when it is called: it can be recorded in a
    CUDA graph, once a call with as many tokens has compiled the kernel.
    """

    def __init__(self, decoder: Any, bias: Any, tile: Tile, *, positions: bool) -> None:
        """Keeps what it is given, and compiles nothing yet.

        Args:
            decoder: float16 or float32 [vocabulary, hidden], contiguous.
            bias: float32 [vocabulary].
            tile: for one program.
            positions: whether positions are written too.

        Raises:
            ValueError: the decoder has 2^31 numbers or more, which the kernel cannot count.
        """
        if decoder.numel() >= _MOST_OFFSETS:
            raise ValueError(f"a decoder of {decoder.numel()} numbers is too large for the kernel")
        self.decoder = decoder
        self.bias = bias
        self.tile = tile
        self.positions = positions

    def __call__(self, h: Any, mask: Any) -> tuple[Any, Any | None]:
        """Of contiguous hidden states of the decoder's type, [batch, length, hidden].

        The mask is int32 [batch, length], 0 for padding, whose states are of no effect.

        Returns:
            Scores, float32 [batch, vocabulary], -inf for a text without tokens; and the first token
            with the greatest logit, int32 [batch, vocabulary], or None.
        """
        batch, length, hidden = h.shape
        vocabulary = len(self.decoder)
        scores = torch.empty(batch, vocabulary, dtype=torch.float32, device=h.device)
        positions = torch.empty_like(scores, dtype=torch.int32) if self.positions else None
        # Triton launches on torch's current device and stream.
        with torch.cuda.device_of(h):
            _maxima[batch, triton.cdiv(vocabulary, self.tile.terms)](
                h,
                mask,
                self.decoder,
                self.bias,
                scores,
                # A pointer that is never followed where positions are not wanted.
                scores if positions is None else positions,
                length,
                hidden=hidden,
                vocabulary=vocabulary,
                with_positions=self.positions,
                tile_tokens=_tile_tokens(length),
                tile_terms=self.tile.terms,
                step=self.tile.step,
                num_warps=self.tile.warps,
                num_stages=self.tile.stages,
            )
        return scores, positions


def _tile_tokens(length: int) -> int:
    tokens: int = min(max(triton.next_power_of_2(length), _LEAST_TOKENS), _MOST_TOKENS)
    return tokens


def fused_head(decoder: Any, bias: Any, lengths: Iterable[int], *, positions: bool) -> FusedHead:
    """A head of the widest tile that the device has room for, compiled for texts of these lengths.

    Raises:
        triton.OutOfResources: it has room for none.
        Exception: whatever else Triton's compiler raises.
    """
    *wider, narrowest = (FusedHead(decoder, bias, tile, positions=positions) for tile in TILES)
    for head in wider:
        try:
            return _compiled(head, lengths)
        except triton.OutOfResources:
            continue
    return _compiled(narrowest, lengths)


def _compiled(head: FusedHead, lengths: Iterable[int]) -> FusedHead:
    for length in sorted(lengths, reverse=True):
        h = head.decoder.new_zeros(1, length, head.decoder.shape[1])
        head(h, torch.ones(1, length, dtype=torch.int32, device=h.device))
    return head
