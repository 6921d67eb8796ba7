"""Array types in kernel signatures: one dimension, contiguous; read-only unless named OUT."""

from numba import types


def _read_only(dtype: types.Type) -> types.Array:
    return types.Array(dtype, 1, "C", readonly=True)


U8 = _read_only(types.uint8)
U16 = _read_only(types.uint16)
U32 = _read_only(types.uint32)
U64 = _read_only(types.uint64)
I64 = _read_only(types.int64)
F32 = _read_only(types.float32)

U32_OUT = types.uint32[::1]
I64_OUT = types.int64[::1]
F32_OUT = types.float32[::1]
F64_OUT = types.float64[::1]
