"""What Numba has no word for: bits of a word, and loads from bytes at any address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])

_LANES = 64
"""Bytes that are compared at once: a bit each makes a word."""


def _inline(function: _Function) -> Callable[..., Any]:
    """Declares what writes its own machine code: from the types of its arguments it says which
    types it takes and gives, and how."""
    return cast(Callable[..., Any], intrinsic(function))


@_inline
def population(_context: Any, word: Any) -> Any:
    """How many bits of a uint64 are set: int64."""

    def code(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return (types.int64(types.uint64), code) if word == types.uint64 else None


@_inline
def lowest(_context: Any, word: Any) -> Any:
    """The place of the lowest bit that is set in a uint64 other than zero: uint64."""

    def code(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.true_bit)

    return (types.uint64(types.uint64), code) if word == types.uint64 else None


@_inline
def load_u16(_context: Any, data: Any, at: Any) -> Any:
    """The little-endian uint16 at `data[at:at + 2]`: int64."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loaded = _loading(ir.IntType(16))(context, builder, signature, arguments)
        return builder.zext(loaded, ir.IntType(64))

    return types.int64(data, at), code


@_inline
def load_u64(_context: Any, data: Any, at: Any) -> Any:
    """The little-endian uint64 at `data[at:at + 8]`: uint64."""
    return types.uint64(data, at), _loading(ir.IntType(64))


@_inline
def lanes_within(_context: Any, data: Any, at: Any, low: Any, width: Any) -> Any:
    """Bit i of a uint64 says whether the uint8 `data[at + i]` is one of the `width`, a uint8,
    from `low`, a uint8, on."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.IntType(8), _LANES)
        loaded = _loading(lanes)(context, builder, signature, arguments)
        above = builder.sub(loaded, _spread(builder, lanes, arguments[2]))
        inside = builder.icmp_unsigned("<", above, _spread(builder, lanes, arguments[3]))
        return builder.bitcast(inside, ir.IntType(64))

    return types.uint64(data, at, low, width), code


def _loading(kind: Any) -> Any:
    """Code that loads a `kind` from the array of bytes in the first argument, at the second."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(array.data, [arguments[1]])
        # Nothing stands at an even address in bytes that lie end to end.
        return builder.load(builder.bitcast(address, kind.as_pointer()), align=1)

    return code


def _spread(builder: Any, lanes: Any, value: Any) -> Any:
    """A vector with `value` in each of its lanes."""
    one = builder.insert_element(ir.Constant(lanes, ir.Undefined), value, ir.IntType(32)(0))
    every = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
    return builder.shuffle_vector(one, one, every)
