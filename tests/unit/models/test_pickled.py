"""PyTorch's files read without PyTorch, and files that want more than to be read."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.torch_files import read_torch_file

from .torch_writer import (
    Call,
    Name,
    Outside,
    describe,
    opcodes,
    pickled,
    save_legacy,
    save_zip,
    state_dict,
    tensor,
    write_legacy,
    write_raw_zip,
    write_zip,
)

ARRAYS: dict[str, NDArray[Any]] = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
    "a.bias": np.array([1.5, -2.0], np.float16),
    "wide": np.array([[1e300]], np.float64),
    "empty": np.zeros((0, 4), np.float32),
    "positions": np.arange(5, dtype=np.int64),
}
ONE = np.array([1.0], np.float32).tobytes()


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_tensors_come_back(tmp_path: Path, save: Callable[[Path, dict[str, Any]], None]) -> None:
    save(tmp_path / "m.bin", ARRAYS)
    found = read_torch_file(tmp_path / "m.bin")
    assert found.keys() == ARRAYS.keys()
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].dtype == expected.dtype


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_bfloat16_is_the_upper_half_of_a_float32(
    tmp_path: Path, save: Callable[[Path, dict[str, Any]], None]
) -> None:
    exact = np.array([1.0, -0.5, 3.140625, 1e30, np.inf], np.float32)
    exact = (exact.view(np.uint32) & 0xFFFF0000).view(np.float32)
    save(tmp_path / "m.bin", {"x": (exact.view(np.uint32) >> 16).astype(np.uint16)})
    np.testing.assert_array_equal(read_torch_file(tmp_path / "m.bin")["x"], exact)


def test_tied_weights_share_a_storage(tmp_path: Path) -> None:
    raw = np.arange(6, dtype=np.float32)
    state = {"a": tensor("0", 6, (2, 3), (3, 1)), "b": tensor("0", 6, (3, 2), (1, 3))}
    write_zip(tmp_path / "m.bin", state, {"0": raw.tobytes()})
    found = read_torch_file(tmp_path / "m.bin")
    np.testing.assert_array_equal(found["a"], raw.reshape(2, 3))
    np.testing.assert_array_equal(found["b"], raw.reshape(2, 3).T)


def test_a_part_of_a_storage_in_the_older_format(tmp_path: Path) -> None:
    raw = np.arange(6, dtype=np.float32)
    state = {"a": tensor("0", 6, (2,), (1,), offset=1, view=(("view", 2, 3),))}
    write_legacy(tmp_path / "m.bin", state, {"0": (6, raw.tobytes())})
    np.testing.assert_array_equal(read_torch_file(tmp_path / "m.bin")["a"], [3, 4])


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict"])
def test_what_a_training_loop_saves(tmp_path: Path, key: str) -> None:
    state = {"epoch": 3, key: {"a": tensor("0", 1, (1,), (1,))}, "best": None}
    write_zip(tmp_path / "m.bin", state, {"0": ONE})
    assert read_torch_file(tmp_path / "m.bin")["a"] == [1.0]


def test_parameters_are_their_tensors(tmp_path: Path) -> None:
    hooks = Call(Name("collections OrderedDict"))
    parameter = Call(
        Name("torch._utils _rebuild_parameter"), (tensor("0", 1, (1,), (1,)), True, hooks)
    )
    write_zip(tmp_path / "m.bin", {"a": parameter}, {"0": ONE})
    assert read_torch_file(tmp_path / "m.bin")["a"] == [1.0]


@given(
    st.lists(st.integers(0, 4), max_size=3),
    st.lists(st.integers(0, 6), min_size=3, max_size=3),
    st.integers(0, 8),
    st.integers(0, 24),
)
@settings(max_examples=200, deadline=None)
def test_a_view_is_what_its_strides_say_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
    shape: list[int],
    strides: list[int],
    offset: int,
    size: int,
) -> None:
    """Against every element on its own."""
    file = tmp_path_factory.getbasetemp() / "view.bin"
    raw = np.arange(size, dtype=np.float32)
    strides = strides[: len(shape)]
    state = {"a": tensor("0", size, shape, strides, offset=offset)}
    write_zip(file, state, {"0": raw.tobytes()})
    places = [
        (at, offset + sum(i * step for i, step in zip(at, strides, strict=True)))
        for at in np.ndindex(*shape)
    ]
    if any(place >= size for _, place in places) or len(places) > size:
        with pytest.raises(ModelSourceError, match="do not fit"):
            read_torch_file(file)
        return
    found = read_torch_file(file)["a"]
    assert found.shape == tuple(shape)
    for at, place in places:
        assert found[at] == raw[place]


class Attack:
    """Pickled by Python itself, as an attacker would."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._reduced = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._reduced


def attacks(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Pickles that would make the marker file, were they run, and what each is refused for."""
    touch = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w')"
    system = Name("posix system")
    get = Name("builtins getattr")
    return {
        "os.system": (pickle.dumps(Attack(os.system, touch), 2), r"posix\.system"),
        "eval": (pickle.dumps(Attack(eval, code), 2), r"__builtin__\.eval"),
        "exec, newer protocol": (pickle.dumps(Attack(exec, code), 4), r"builtins\.exec"),
        "inside a state dict": (
            pickled(state_dict({**describe(ARRAYS), "x": Call(system, (touch,))})),
            r"posix\.system",
        ),
        "as metadata": (
            pickled(Call(Name("collections OrderedDict"), state=Call(system, (touch,)))),
            r"posix\.system",
        ),
        "as a storage": (pickled({"x": Outside(Call(system, (touch,)))}), r"posix\.system"),
        "as a dict's argument": (
            pickled(Call(Name("collections OrderedDict"), (Call(system, (touch,)),))),
            r"posix\.system",
        ),
        "getattr of a module": (
            pickled(Call(get, (Name("torch serialization"), "os"))),
            r"builtins\.getattr",
        ),
        "a dotted name": (
            b"\x80\x04" + b"\x8c\x05torch\x8c\x17serialization.os.system\x93(X\x01\0\0\0xtR.",
            r"torch\.serialization\.os\.system",
        ),
        "an allowed name of another module": (
            pickled(Call(Name("mine OrderedDict"))),
            r"mine\.OrderedDict",
        ),
        "a call of what a call gave": (
            b"\x80\x02" + opcodes(Call(Name("collections OrderedDict"))) + b")R.",
            "a call of dict",
        ),
        "INST": (f"(S'{touch}'\niposix\nsystem\n.".encode(), "opcode STRING|opcode INST"),
        "OBJ": (b"(cposix\nsystem\nX\x01\0\0\0xo.", "opcode OBJ"),
        "NEWOBJ": (b"\x80\x02cposix\nsystem\n(X\x01\0\0\0xt\x81.", "opcode NEWOBJ"),
        "an extension's number": (b"\x80\x02\x82\x01.", "opcode EXT1"),
        "a state set on a name": (
            b"\x80\x02" + opcodes(Name("collections OrderedDict")) + opcodes({"x": 1}) + b"b.",
            "a change of Name",
        ),
        "nested tuples as a key": (
            b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"Ns.",
            "a dict key of type tuple",
        ),
    }


@pytest.mark.parametrize("name", attacks(Path("x")))
@pytest.mark.parametrize("format", ["zip", "legacy", "bare"])
def test_nothing_that_a_file_asks_for_is_run(tmp_path: Path, name: str, format: str) -> None:
    marker = tmp_path / "was-run"
    content, asked = attacks(marker)[name]
    file = tmp_path / "m.bin"
    match format:
        case "zip":
            write_raw_zip(file, content, {})
        case "legacy":
            head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
            file.write_bytes(b"".join(map(pickled, head)) + content)
        case "bare":
            file.write_bytes(content)
    with pytest.raises(ModelSourceError, match=asked) as error:
        read_torch_file(file)
    assert "nothing of it was run" in str(error.value)
    assert not marker.exists()


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """Python's own unpickler runs them, or this file tests nothing."""
    marker = tmp_path / "was-run"
    pickle.loads(attacks(marker)["os.system"][0])  # noqa: S301
    assert marker.exists()


HUGE = 2**62


@pytest.mark.parametrize(
    ("described", "words"),
    [
        (tensor("0", 1, (2,), (1,)), "do not fit"),
        (tensor("0", 1, (1,), (1,), offset=1), "do not fit"),
        (tensor("0", 1, (HUGE,), (0,)), "many times"),
        (tensor("0", 1, (1000,), (0,)), "many times|do not fit"),
        (tensor("0", 1, (1,), (1,), offset=HUGE), "do not fit"),
        (tensor("0", 1, (0,), (1,), offset=-1), "no number of elements"),
        (tensor("0", 1, (-1,), (1,)), "no number of elements"),
        (tensor("0", 1, (1,), (-1,)), "no number of elements"),
        (tensor("0", 1, (1, 1), (1,)), "strides"),
        (tensor("0", 1, (1,) * 9, (1,) * 9), "no short tuple"),
        (tensor("0", HUGE, (1,), (1,)), "should have"),
        (tensor("0", 2, (1,), (1,)), "should have"),
        (tensor("9", 1, (1,), (1,)), "cannot be read"),
        (tensor("../version", 1, (1,), (1,)), "cannot be read"),
        (tensor("0", 1, (1,), (1,), storage="torch QInt8Storage"), "QInt8Storage"),
        (tensor("0", 1, (1,), (1,), storage="os system"), r"os\.system"),
        (Call(Name("torch._utils _rebuild_tensor_v2"), (1, 0, (), ())), "no storage"),
        (Call(Name("torch._utils _rebuild_tensor_v2"), ()), "no whole pickle"),
        (Call(Name("torch._utils _rebuild_parameter"), (1,)), "no tensor"),
        (Call(Name("torch._utils _rebuild_qtensor"), ()), "_rebuild_qtensor"),
        (Outside(("module", Name("torch FloatStorage"), "0", "cpu", 1)), "a storage of"),
        (Outside("0"), "no storage"),
    ],
)
def test_a_tensor_that_lies(tmp_path: Path, described: Any, words: str) -> None:
    write_zip(tmp_path / "m.bin", {"a": described}, {"0": ONE})
    with pytest.raises(ModelSourceError, match=words):
        read_torch_file(tmp_path / "m.bin")


def test_one_storage_named_a_thousand_times(tmp_path: Path) -> None:
    raw = np.zeros(4096, np.float32).tobytes()
    state = {f"t{i}": tensor("0", 4096, (4096,), (1,)) for i in range(1000)}
    write_zip(tmp_path / "m.bin", state, {"0": raw})
    with pytest.raises(ModelSourceError, match="many times the"):
        read_torch_file(tmp_path / "m.bin")


def test_a_member_that_grows(tmp_path: Path) -> None:
    file = tmp_path / "m.bin"
    state = {"a": tensor("0", 2**18, (2**18,), (1,))}
    write_zip(file, state, {"0": bytes(2**20)}, compression=zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 2**14
    with pytest.raises(ModelSourceError, match="compressed or oversized member"):
        read_torch_file(file)


def test_a_member_that_says_it_is_larger_than_the_file(tmp_path: Path) -> None:
    file = tmp_path / "m.bin"
    write_zip(file, {"a": tensor("0", 1, (1,), (1,))}, {"0": ONE})
    raw = bytearray(file.read_bytes())
    entry = raw.rindex(b"archive/data/0") - 46
    raw[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    file.write_bytes(raw)
    with pytest.raises(ModelSourceError):
        read_torch_file(file)


def test_a_storage_that_says_it_is_larger_than_the_older_file(tmp_path: Path) -> None:
    state = {"a": tensor("0", 2**40, (1,), (1,), view=(None,))}
    write_legacy(tmp_path / "m.bin", state, {"0": (2**40, ONE)})
    with pytest.raises(ModelSourceError, match="should have"):
        read_torch_file(tmp_path / "m.bin")


@pytest.mark.parametrize("content", [b"", b"\n", b"version https://git-lfs", bytes(64), b"PK\x03"])
def test_a_file_that_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.bin").write_bytes(content)
    with pytest.raises(ModelSourceError, match=r"m\.bin"):
        read_torch_file(tmp_path / "m.bin")


def test_a_checkpoint_without_tensors(tmp_path: Path) -> None:
    write_zip(tmp_path / "m.bin", {"epoch": 3}, {})
    with pytest.raises(ModelSourceError, match="holds no tensors"):
        read_torch_file(tmp_path / "m.bin")
    write_zip(tmp_path / "m.bin", [1], {})
    with pytest.raises(ModelSourceError, match="no state dict"):
        read_torch_file(tmp_path / "m.bin")


@pytest.mark.parametrize("save", [save_zip, save_legacy])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_broken_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    save: Callable[[Path, dict[str, Any]], None],
    data: st.DataObject,
) -> None:
    """Cut anywhere, or with any byte changed, it never ends in another error."""
    file = tmp_path_factory.getbasetemp() / f"{save.__name__}.bin"
    save(file, {"a": ARRAYS["a.weight"], "b": ARRAYS["a.bias"]})
    raw = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        del raw[at:]
    else:
        raw[at] = data.draw(st.integers(0, 255))
    file.write_bytes(raw)
    try:
        found = read_torch_file(file)
    except ModelSourceError:
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())


def test_a_name_that_says_it_is_larger_than_memory(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.")
    with pytest.raises(ModelSourceError, match="no whole pickle"):
        read_torch_file(tmp_path / "m.bin")


def test_a_pickle_that_never_ends(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"\x80\x02" + b"N" * 1_100_000)
    with pytest.raises(ModelSourceError, match="its pickle is too long"):
        read_torch_file(tmp_path / "m.bin")
