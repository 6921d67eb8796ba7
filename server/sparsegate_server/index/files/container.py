"""One file of named arrays: written once, then mapped into memory and never changed.

    magic          8 bytes      "SPARSGAT"
    version        uint32       of this layout
    header size    uint32
    header crc     uint32       CRC-32 of the header
    zero           uint32
    file size      uint64
    header         JSON         kind, facts, sections (name, type, length, place), structural bytes;
                                spaces up to the first section
    sections       each at a multiple of 64 bytes; the structural ones first
    checksums      uint32 each  CRC-32 of every 64 KiB from the first section on

All numbers are little endian. Structural sections are those that say where others begin: a wrong
number there would lead a kernel astray, so that they are checked when the file is opened. The
others are checked by `damage`, which reads everything.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import CorruptIndex
from sparsegate_server.index.files.durable import private

MAGIC: Final = b"SPARSGAT"
VERSION: Final = 1
_PREFIX: Final = struct.Struct("<8sIIIIQ")
_ALIGNMENT: Final = 64
_BLOCK: Final = 65_536
_LARGEST_HEADER: Final = 1 << 20
_TYPES: Final = {
    "uint8",
    "uint16",
    "int16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
}

Arrays = Mapping[str, NDArray[Any]]


class Damaged(CorruptIndex):
    """A file that cannot be trusted, and the way out."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path} {what}: stop the gateway, then {_rebuild(path)} makes the index anew from the"
            " store, which holds everything",
            metadata={"file": str(path)},
        )


def _rebuild(path: Path) -> str:
    """The command that makes the index of a file anew: DATA/collections/NAME/index/FILE."""
    above = path.absolute().parents
    if len(above) > 3 and above[2].name == "collections":
        return f"`sparsegate-server index rebuild {above[1].name} --data {above[3]}`"
    return "`sparsegate-server index rebuild`"


@dataclass(frozen=True, slots=True, eq=False)
class Container:
    """An open file.

    Attributes:
        facts: what its writer noted, as JSON has it.
        arrays: read-only views of the mapped file.
    """

    path: Path
    facts: Mapping[str, Any]
    arrays: Arrays
    _map: mmap.mmap
    _sums: NDArray[np.uint32]
    _start: int

    @property
    def size(self) -> int:
        return len(self._map)

    def damage(self) -> str:
        """Reads the whole file; what is wrong with it, or "". Takes about a second a gigabyte."""
        return _wrong_block(self._map, self._start, self._sums, range(len(self._sums)))


def write(
    path: Path,
    kind: str,
    facts: Mapping[str, Any],
    arrays: Arrays,
    *,
    structural: Collection[str] = (),
) -> int:
    """Writes a new file and syncs it; its folder is left to the caller. Returns its size in bytes.

    Raises:
        OSError: nothing is left behind then.
    """
    ordered = sorted(arrays, key=lambda name: name not in structural)
    sections, place, structure = [], 0, 0
    for name in ordered:
        array = np.ascontiguousarray(arrays[name])
        sections.append([name, array.dtype.name, len(array), place])
        place = _aligned(place + array.nbytes)
        if name in structural:
            structure = place
    header = json.dumps(
        {"kind": kind, "facts": facts, "sections": sections, "structure": structure, "end": place}
    ).encode()
    start = _aligned(_PREFIX.size + len(header))
    header = header.ljust(start - _PREFIX.size)  # so that no byte goes unchecked
    blocks = -(-place // _BLOCK)
    size = start + place + 4 * blocks
    prefix = _PREFIX.pack(MAGIC, VERSION, len(header), zlib.crc32(header), 0, size)
    number = private(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with open(number, "wb", closefd=False) as file:
            file.write(prefix + header)
            sums = _Sums()
            for name in ordered:
                for piece in _pieces(np.ascontiguousarray(arrays[name])):
                    sums.add(piece)
                    file.write(piece)
            file.write(sums.finish())
            file.flush()
        os.fsync(number)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(number)
    return size


def open_file(path: Path, kind: str) -> Container:
    """Maps a file, after its structure was checked.

    Raises:
        CorruptIndex: it is missing, truncated, damaged, foreign, or of a newer version.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _PREFIX.size:
                raise Damaged(path, f"is cut short: it has {size} bytes")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise Damaged(path, "is missing") from None
    header, start = _header(path, mapped, size)
    if header["kind"] != kind:
        raise Damaged(path, f"is of the kind {header['kind']!r}, not {kind!r}")
    end = int(header["end"])
    sums = np.frombuffer(mapped, np.uint32, -(-end // _BLOCK), start + end)
    structure = range(-(-int(header["structure"]) // _BLOCK))
    if wrong := _wrong_block(mapped, start, sums, structure):
        raise Damaged(path, wrong)
    arrays = {
        name: np.frombuffer(mapped, dtype, length, start + place)
        for name, dtype, length, place in header["sections"]
    }
    return Container(path, header["facts"], arrays, mapped, sums, start)


def _header(path: Path, mapped: mmap.mmap, size: int) -> tuple[dict[str, Any], int]:
    magic, version, length, crc, zero, expected = _PREFIX.unpack(mapped[: _PREFIX.size])
    if magic != MAGIC or zero:
        raise Damaged(path, "is not a file of the index")
    if version != VERSION:
        raise Damaged(path, f"has the layout {version}; this program knows {VERSION}")
    if size != expected:
        raise Damaged(path, f"has {size} bytes instead of {expected}")
    raw = mapped[_PREFIX.size : _PREFIX.size + length]
    if length > _LARGEST_HEADER or len(raw) != length or zlib.crc32(raw) != crc:
        raise Damaged(path, "has a damaged header")
    header: dict[str, Any] = json.loads(raw)
    start = _aligned(_PREFIX.size + length)
    end = int(header["end"])
    if start + end + 4 * -(-end // _BLOCK) != size:
        raise Damaged(path, "has a header that does not fit its size")
    for name, dtype, count, place in header["sections"]:
        if dtype not in _TYPES or place + count * np.dtype(dtype).itemsize > end:
            raise Damaged(path, f"has a section {name!r} that does not fit")
    return header, start


def _wrong_block(mapped: mmap.mmap, start: int, sums: NDArray[np.uint32], blocks: range) -> str:
    with memoryview(mapped) as view:
        end = len(view) - 4 * len(sums)
        for block in blocks:
            first = start + block * _BLOCK
            if zlib.crc32(view[first : min(first + _BLOCK, end)]) != sums[block]:
                return f"is damaged between the bytes {first} and {first + _BLOCK}"
    return ""


def _pieces(array: NDArray[Any]) -> Iterator[memoryview | bytes]:
    """The bytes of a section and of the gap behind it."""
    if len(array):
        yield array.data.cast("B")
    if gap := _aligned(array.nbytes) - array.nbytes:
        yield bytes(gap)


class _Sums:
    """Checksums of consecutive blocks of a stream."""

    def __init__(self) -> None:
        self._sums: list[int] = []
        self._crc = 0
        self._filled = 0

    def add(self, piece: memoryview | bytes) -> None:
        view = memoryview(piece)
        while view:
            part = view[: _BLOCK - self._filled]
            self._crc = zlib.crc32(part, self._crc)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == _BLOCK:
                self._close()

    def finish(self) -> bytes:
        if self._filled:
            self._close()
        return np.array(self._sums, np.uint32).tobytes()

    def _close(self) -> None:
        self._sums.append(self._crc)
        self._crc = self._filled = 0


def _aligned(place: int) -> int:
    return -(-place // _ALIGNMENT) * _ALIGNMENT
