"""The contract: every field has its rule, and the stubs need none of them."""

from __future__ import annotations

import subprocess
import sys

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from protovalidate import Validator

from sparsegate.v1 import common_pb2, document_pb2
from sparsegate_server.rpc.contract import load_pool, violations

RULE = b"\xba\x48"
"""How the extension `buf.validate.field`, number 1159, begins on the wire."""


def messages() -> list[Descriptor]:
    pool = load_pool()
    files = (
        *("common", "filter", "snapshot", "encode", "effort"),
        *("collection", "document", "search", "model"),
    )
    return [
        message
        for name in files
        for message in pool.FindFileByName(
            f"sparsegate/v1/{name}.proto"
        ).message_types_by_name.values()
    ]


def free(field: FieldDescriptor) -> bool:
    """Kinds that have nothing to restrict: a bool is either; a message has rules of its own; what
    lies in the members of a Value is limited by the size and depth of the whole payload; any
    integer may be an id, or what a number is compared with."""
    plain = field.type in {FieldDescriptor.TYPE_BOOL, FieldDescriptor.TYPE_MESSAGE}
    inside_value = field.containing_type.name in {"Value", "ListValue", "MapValue"}
    any_number = field.full_name.removeprefix("sparsegate.v1.") in {
        "DocumentId.number",
        "MatchValue.int_value",
        "NumberBound.int_value",
    }
    return (plain and not field.is_repeated) or inside_value or any_number


def test_every_field_that_can_be_wrong_has_a_rule() -> None:
    for message in messages():
        for field in message.fields:
            has_rule = RULE in field.GetOptions().SerializeToString()
            assert has_rule or free(field), f"{field.full_name} has no rule"


def test_the_rules_of_every_message_compile() -> None:
    for message in messages():
        assert isinstance(violations(message.full_name, b""), list)


def test_violations_name_the_field() -> None:
    request = document_pb2.UpsertRequest(
        collection="a b",
        documents=[
            common_pb2.Document(id=common_pb2.DocumentId(number=1), text="x"),
            common_pb2.Document(text="x", payload={"k": common_pb2.Value()}),
        ],
    )
    found = dict(violations("sparsegate.v1.UpsertRequest", request.SerializeToString()))
    assert found.keys() == {"collection", "documents[1].id", 'documents[1].payload["k"].kind'}


def test_the_client_needs_no_rules() -> None:
    """The stubs' own pool knows nothing of protovalidate: importing them must not import it."""
    code = (
        "import sys, sparsegate.v1.search_pb2, sparsegate.v1.document_pb2_grpc\n"
        "sys.exit(any(m.split('.')[0] in {'protovalidate', 'buf', 'numpy'} for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert Validator().collect_violations(common_pb2.DocumentId()) == []
