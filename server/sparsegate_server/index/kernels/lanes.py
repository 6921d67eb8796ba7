"""What Numba has no word for: many accumulators at once, and a hint to the processor.

A loop would do, but whether it becomes vector instructions is up to the compiler's mood, and these
few lines are where a search spends its time. A stride of documents has as many as a word has bits.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils

from sparsegate_server.index.kernels.bits import LANES, inline, spread

_BYTE, _SHORT, _INT = ir.IntType(8), ir.IntType(16), ir.IntType(32)
_READ, _KEEP, _DATA = 0, 3, 1


@inline
def prefetch(_typing: Any, array: Any, place: Any) -> Any:
    """Asks for the cache line of `array[place]`; a place outside of the array does no harm."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], arguments[0], arguments[1], _BYTE)
        hint = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module,
            ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _INT, _INT, _INT]),
            "llvm.prefetch.p0",
        )
        builder.call(hint, [address, _INT(_READ), _INT(_KEEP), _INT(_DATA)])
        return context.get_dummy_value()

    return types.void(array, place), generate


@inline
def lanes_reaching(_typing: Any, sums: Any, at: Any, low: Any) -> Any:
    """Bit i of a uint64 says whether the uint16 `sums[at + i]` is at least `low`, a uint16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(_SHORT, LANES)
        sums, at, low = arguments
        address = _address(context, builder, signature.args[0], sums, at, lanes)
        reaching = builder.icmp_unsigned(
            ">=", builder.load(address, align=2), spread(builder, lanes, low)
        )
        return builder.bitcast(reaching, ir.IntType(64))

    return types.uint64(sums, at, low), generate


@inline
def mark_lanes(_typing: Any, sums: Any, at: Any, word: Any) -> Any:
    """Sets the uint16 `sums[at + i]` to bit i of a uint64, for each lane i."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(_SHORT, LANES)
        sums, at, word = arguments
        bits = builder.bitcast(word, ir.VectorType(ir.IntType(1), LANES))
        address = _address(context, builder, signature.args[0], sums, at, lanes)
        builder.store(builder.zext(bits, lanes), address, align=2)
        return context.get_dummy_value()

    return types.void(sums, at, word), generate


@inline
def lanes_equal(_typing: Any, terms: Any, at: Any, wanted: Any) -> Any:
    """Bit i of a uint64 says whether the uint16 or uint32 `terms[at + i]` is `wanted`, a uint32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = ir.IntType(terms.dtype.bitwidth)
        lanes = ir.VectorType(one, LANES)
        array, at, wanted = arguments
        if one != wanted.type:
            wanted = builder.trunc(wanted, one)
        address = _address(context, builder, signature.args[0], array, at, lanes)
        loaded = builder.load(address, align=terms.dtype.bitwidth // 8)
        equal = builder.icmp_unsigned("==", loaded, spread(builder, lanes, wanted))
        return builder.bitcast(equal, ir.IntType(64))

    return types.uint64(terms, at, wanted), generate


@inline
def add_four(
    _typing: Any, sums: Any, to: Any, dense: Any, a: Any, b: Any, c: Any, d: Any,
    wa: Any, wb: Any, wc: Any, wd: Any,
) -> Any:  # fmt: skip
    """Adds ⌈(wa · dense[a + i] + … + wd · dense[d + i]) / 256⌉ to `sums[to + i]` for each lane i;
    weights are uint32, sums uint16."""
    return types.void(sums, to, dense, a, b, c, d, wa, wb, wc, wd), _adding


@inline
def add_two(
    _typing: Any, sums: Any, to: Any, dense: Any, a: Any, b: Any, wa: Any, wb: Any
) -> Any:  # fmt: skip
    """`add_four` of two columns."""
    return types.void(sums, to, dense, a, b, wa, wb), _adding


def _adding(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Code that adds columns: after three arguments, their places, then their weights."""
    bytes_, shorts, ints = (ir.VectorType(kind, LANES) for kind in (_BYTE, _SHORT, _INT))
    sums, to, dense, *rest = arguments
    half = len(rest) // 2
    # Rounding up: 255 more before the last eight bits are dropped.
    total = ir.Constant(ints, [255] * LANES)
    for place, weight in zip(rest[:half], rest[half:], strict=True):
        column = _address(context, builder, signature.args[2], dense, place, bytes_)
        impacts = builder.zext(builder.load(column, align=1), ints)
        total = builder.add(total, builder.mul(impacts, spread(builder, ints, weight)))
    added = builder.trunc(builder.lshr(total, ir.Constant(ints, [8] * LANES)), shorts)
    address = _address(context, builder, signature.args[0], sums, to, shorts)
    builder.store(builder.add(builder.load(address, align=2), added), address, align=2)
    return context.get_dummy_value()


def _address(context: Any, builder: Any, array_type: Any, array: Any, place: Any, kind: Any) -> Any:
    """The address of an element, as that of a `kind`."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), kind.as_pointer())
