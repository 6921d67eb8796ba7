"""A small builder of ONNX graphs: one call a node, names made up on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
"""The first with Gelu. Onnxruntime 1.17 and later run it."""
IR_VERSION = 9
"""The one that came with this opset; a newer one would shut out older runtimes."""

DTYPES = {
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "bool": TensorProto.BOOL,
}


class GraphBuilder:
    """Collects nodes, constants, inputs and outputs; values are named by strings."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, DTYPES[dtype], shape))
        return name

    def output(self, value: str, name: str, dtype: str, shape: Sequence[int | str]) -> None:
        self._nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(helper.make_tensor_value_info(name, DTYPES[dtype], shape))

    def constant(self, array: NDArray[Any], name: str | None = None) -> str:
        """A tensor of the graph. Two calls with one name give one tensor."""
        name = name or f"constant_{len(self._constants)}"
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def scalar(self, value: float, dtype: str = "float32") -> str:
        return self.constant(np.array(value, dtype), f"{dtype}_{value!r}")

    def integers(self, *values: int) -> str:
        """An int64 [n] constant, as shapes and axes are written."""
        return self.constant(np.array(values, np.int64), "int64_" + "_".join(map(str, values)))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output and returns the output's name."""
        return self.nodes(operator, *inputs, outputs=1, **attributes)[0]

    def nodes(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Adds a node with several outputs and returns their names."""
        name = f"{operator}_{len(self._nodes)}"
        results = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, results, name=name, **attributes))
        return results

    def cast(self, value: str, dtype: str) -> str:
        return self.node("Cast", value, to=DTYPES[dtype])

    def build(self, name: str, metadata: Mapping[str, str] | None = None) -> bytes:
        """The checked model, serialized; equal graphs give equal bytes."""
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._constants.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="sparsegate",
        )
        helper.set_model_props(model, dict(metadata or {}))
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))
