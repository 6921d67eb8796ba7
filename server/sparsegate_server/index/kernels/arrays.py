"""Arrays as kernels know them: by type in a signature, or by address.

Types are of one dimension, contiguous; read-only unless named OUT.

TERMS stands for two: term ids take 16 bits where the vocabulary allows it, else 32.
"""

from typing import Any

from numba import types
from numpy.typing import NDArray


def _read_only(dtype: types.Type) -> types.Array:
    return types.Array(dtype, 1, "C", readonly=True)


U8 = _read_only(types.uint8)
U16 = _read_only(types.uint16)
U32 = _read_only(types.uint32)
U64 = _read_only(types.uint64)
I32 = _read_only(types.int32)
I64 = _read_only(types.int64)
F32 = _read_only(types.float32)
F64 = _read_only(types.float64)

TERMS = (U16, U32)
TERMS_OUT = (types.uint16[::1], types.uint32[::1])

U8_OUT = types.uint8[::1]
U16_OUT = types.uint16[::1]
U32_OUT = types.uint32[::1]
I32_OUT = types.int32[::1]
I64_OUT = types.int64[::1]
U64_OUT = types.uint64[::1]
F32_OUT = types.float32[::1]
F64_OUT = types.float64[::1]


def address_of(array: NDArray[Any]) -> int:
    """Where the first byte lies; as good as the array, which somebody has to keep."""
    return int(array.__array_interface__["data"][0])
