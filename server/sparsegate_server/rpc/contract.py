"""The contract with its rules: what a request must look like before anything is done with it."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from protovalidate import FieldPathPb, Validator, Violation

CONTRACT = Path(__file__).with_name("contract.binpb")

_validator = Validator()


def load_pool() -> DescriptorPool:
    """The whole contract, rules included, apart from the stubs' own pool, which has no rules."""
    pool = DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(CONTRACT.read_bytes()).file:
        pool.Add(file)
    return pool


_pool = load_pool()


def violations(type_name: str, raw: bytes) -> list[tuple[str, str]]:
    """Checks a request against the rules of its .proto file.

    Args:
        type_name: full name of the message.
        raw: the message on the wire.

    Returns:
        (field path, what is wrong) for each broken rule: `("documents[3].id", "is required")`.

    Raises:
        google.protobuf.message.DecodeError: not such a message.
    """
    message: Message = GetMessageClass(_pool.FindMessageTypeByName(type_name)).FromString(raw)
    return [_readable(v) for v in _validator.collect_violations(message)]


def _readable(violation: Violation) -> tuple[str, str]:
    proto = violation.proto
    return (_path(proto.field) if proto.field else "", proto.message or proto.rule_id or "invalid")


def _path(path: FieldPathPb) -> str:
    """`documents[3].payload["a"].double_value`."""
    parts: list[str] = []
    for element in path.elements:
        name = element.field_name or str(element.field_number)
        subscript = element.subscript
        if subscript is None:
            parts.append(name)
        elif subscript.field == "string_key":
            parts.append(f'{name}["{subscript.value}"]')
        else:
            parts.append(f"{name}[{subscript.value}]")
    return ".".join(parts)
