"""What Numba has no word for: bits of a word, and loads from bytes at any address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

_Function = TypeVar("_Function", bound=Callable[..., Any])

LANES = 64
"""Documents of a stride: so many are looked at together, and a bit each makes a word. A block is a
whole number of strides."""


def inline(function: _Function) -> Callable[..., Any]:
    """Declares what writes its own machine code: from the types of its arguments it says which
    types it takes and gives, and how."""
    return cast(Callable[..., Any], intrinsic(function))


@inline
def population(_context: Any, word: Any) -> Any:
    """How many bits of a uint64 are set: int64."""

    def code(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return (types.int64(types.uint64), code) if word == types.uint64 else None


@inline
def lowest(_context: Any, word: Any) -> Any:
    """The place of the lowest bit that is set in a uint64 other than zero: uint64."""

    def code(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.true_bit)

    return (types.uint64(types.uint64), code) if word == types.uint64 else None


@inline
def load_u16(_context: Any, data: Any, at: Any) -> Any:
    """The little-endian uint16 at `data[at:at + 2]`: int64."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loaded = _loading(ir.IntType(16))(context, builder, signature, arguments)
        return builder.zext(loaded, ir.IntType(64))

    return types.int64(data, at), code


@inline
def load_u64(_context: Any, data: Any, at: Any) -> Any:
    """The little-endian uint64 at `data[at:at + 8]`: uint64."""
    return types.uint64(data, at), _loading(ir.IntType(64))


def _array_at(dtype: Any) -> Callable[[int, int], Any]:
    """A function of an address and a length: the array there, which somebody else keeps alive."""

    def array_at(_context: Any, address: Any, length: Any) -> Any:
        if not address == length == types.int64:
            return None
        return _array_of(dtype)(address, length), _array_code(dtype, 0)

    return inline(array_at)


def _array_of(dtype: Any) -> Any:
    return types.Array(dtype, 1, "C", readonly=True)


def _array_code(dtype: Any, first: int) -> Any:
    """Code that makes an array of the arguments from the `first` on, an address and a length."""

    def code(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        address, length = arguments[first:]
        array = context.make_array(_array_of(dtype))(context, builder)
        step = context.get_constant(types.intp, dtype.bitwidth // 8)
        populate_array(  # type: ignore[no-untyped-call]
            array,
            data=builder.inttoptr(address, array.data.type),
            shape=[length],
            strides=[step],
            itemsize=step,
            meminfo=None,
        )
        return array._getvalue()

    return code


@inline
def array_like(_context: Any, like: Any, address: Any, length: Any) -> Any:
    """The array at an address, which somebody else keeps alive, with the type of `like`."""
    return _array_of(like.dtype)(like, address, length), _array_code(like.dtype, 1)


u8_at = _array_at(types.uint8)
u16_at = _array_at(types.uint16)
u32_at = _array_at(types.uint32)
u64_at = _array_at(types.uint64)
i16_at = _array_at(types.int16)
i32_at = _array_at(types.int32)
i64_at = _array_at(types.int64)
f32_at = _array_at(types.float32)
f64_at = _array_at(types.float64)


@inline
def unite_lanes(_context: Any, words: Any, place: Any, data: Any, at: Any) -> Any:
    """Adds the bits of the 64 bytes from `data[at]` on to the words from `words[place]` on."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.IntType(64), LANES // 8)
        more = _loading(lanes)(context, builder, types.uint64(data, at), arguments[2:])
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), lanes.as_pointer())
        united = builder.or_(builder.load(address, align=8), more)
        builder.store(united, address, align=8)

    return types.void(words, place, data, at), code


@inline
def lanes_within(_context: Any, data: Any, at: Any, low: Any, width: Any) -> Any:
    """Bit i of a uint64 says whether the uint8 `data[at + i]` is one of the `width`, a uint8,
    from `low`, a uint8, on."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.IntType(8), LANES)
        loaded = _loading(lanes)(context, builder, signature, arguments)
        above = builder.sub(loaded, spread(builder, lanes, arguments[2]))
        inside = builder.icmp_unsigned("<", above, spread(builder, lanes, arguments[3]))
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


def spread(builder: Any, lanes: Any, value: Any) -> Any:
    """A vector with `value` in each of its lanes."""
    one = builder.insert_element(ir.Constant(lanes, ir.Undefined), value, ir.IntType(32)(0))
    every = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, one, every)
