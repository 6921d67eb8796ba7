"""Generates everything that comes from the contract: `make protos`.

The stubs of the client are made without the validation rules, so that the client needs nothing but
protobuf and grpcio. The server gets the whole contract, rules included, as a descriptor set.
`--check` changes nothing and fails when what is committed is not what would be generated.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
STUBS = Path("client/sparsegate/v1")
CONTRACT = Path("server/sparsegate_server/rpc/contract.binpb")
RULES = "buf/validate/validate.proto"
BIN = Path(sys.executable).parent


def build_contract(into: Path) -> FileDescriptorSet:
    subprocess.run([BIN / "buf", "build", "protos", "-o", into], cwd=ROOT, check=True)
    return FileDescriptorSet.FromString(into.read_bytes())


def without_source(contract: FileDescriptorSet) -> FileDescriptorSet:
    """Comments and positions are for generators; at run time they are dead weight."""
    slim = FileDescriptorSet()
    slim.CopyFrom(contract)
    for file in slim.file:
        file.ClearField("source_code_info")
    return slim


def without_rules(contract: FileDescriptorSet) -> FileDescriptorSet:
    """Rules are custom options, which are unknown fields to whoever did not import their file."""
    bare = FileDescriptorSet()
    for file in contract.file:
        if file.name == RULES:
            continue
        kept = bare.file.add()
        kept.CopyFrom(file)
        kept.DiscardUnknownFields()
        drop_import(kept)
    return bare


def drop_import(file: FileDescriptorProto) -> None:
    remaining = [name for name in file.dependency if name != RULES]
    del file.dependency[:]
    file.dependency.extend(remaining)


def generate(out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        contract = build_contract(Path(scratch) / "contract.binpb")
        bare = Path(scratch) / "bare.binpb"
        bare.write_bytes(without_rules(contract).SerializeToString(deterministic=True))
        target = out / CONTRACT
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(without_source(contract).SerializeToString(deterministic=True))
        client = out / "client"
        client.mkdir(parents=True, exist_ok=True)
        sources = sorted(f.name for f in contract.file if f.name.startswith("sparsegate/"))
        status = protoc.main(
            [
                "protoc",
                f"--descriptor_set_in={bare}",
                f"--plugin=protoc-gen-mypy={BIN / 'protoc-gen-mypy'}",
                f"--plugin=protoc-gen-mypy_grpc={BIN / 'protoc-gen-mypy_grpc'}",
                f"--python_out={client}",
                f"--grpc_python_out={client}",
                f"--mypy_out=quiet:{client}",
                f"--mypy_grpc_out=quiet:{client}",
                *sources,
            ]
        )
        if status:
            sys.exit(status)
    (out / STUBS / "__init__.py").write_text('"""Generated from protos/sparsegate/v1."""\n')


def differences(left: Path, right: Path) -> list[str]:
    names = {p.name for p in left.iterdir() if p.is_file()} | {
        p.name for p in right.iterdir() if p.is_file()
    }
    return sorted(
        name
        for name in names
        if not (left / name).is_file()
        or not (right / name).is_file()
        or not filecmp.cmp(left / name, right / name, shallow=False)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    with tempfile.TemporaryDirectory() as fresh:
        out = Path(fresh)
        options = parser.parse_args()
        generate(out)
        if options.check:
            stale = differences(out / STUBS, ROOT / STUBS)
            if not filecmp.cmp(out / CONTRACT, ROOT / CONTRACT, shallow=False):
                stale.append(CONTRACT.name)
            if stale:
                sys.exit(f"not what protos/ says, run `make protos`: {', '.join(stale)}")
            return
        shutil.rmtree(ROOT / STUBS, ignore_errors=True)
        shutil.copytree(out / STUBS, ROOT / STUBS)
        shutil.copy(out / CONTRACT, ROOT / CONTRACT)


if __name__ == "__main__":
    main()
