"""Runs a model's ONNX graph inside Triton's python backend.

Triton hands over the requests of one dynamic batch, all of one padded length. They are run as one
batch and split again, and each reply is trimmed to its own fullest row. This file is the same for
every model and needs only onnxruntime and numpy.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

INPUTS = ("input_ids", "attention_mask")
FINGERPRINT = "sparsegate_fingerprint"


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        """Loads `model.onnx` from beside this file, and refuses that of another model.

        The parameter `intra_op_threads` of config.pbtxt says how many threads one batch may use;
        with other work on the same cores, one is the fastest.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(
            parameters.get("intra_op_threads", {}).get("string_value", "1")
        )
        options.inter_op_num_threads = 1
        graph = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
        self.outputs = [output.name for output in self.session.get_outputs()]
        expected = parameters.get(FINGERPRINT, {}).get("string_value", "")
        found = self.session.get_modelmeta().custom_metadata_map.get(FINGERPRINT, "")
        if expected and found != expected:
            raise pb_utils.TritonModelException(
                f"{graph} is the graph of a model with fingerprint {found or 'none'}, not "
                f"{expected}: export the model again"
            )

    def execute(self, requests: list[Any]) -> list[Any]:
        feeds = [
            [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in INPUTS]
            for request in requests
        ]
        try:
            return self.run(feeds)
        except Exception as error:
            if len(requests) == 1:
                return [failure(error)]
        # One bad request must not fail the others of its batch: find it by running each alone.
        responses: list[Any] = []
        for feed in feeds:
            try:
                responses += self.run([feed])
            except Exception as error:
                responses.append(failure(error))
        return responses

    def run(self, feeds: list[list[Any]]) -> list[Any]:
        """One response per [input_ids, attention_mask], from one run of the graph."""
        batch = [np.concatenate(arrays) for arrays in zip(*feeds, strict=True)]
        outputs = self.session.run(self.outputs, dict(zip(INPUTS, batch, strict=True)))
        ends = np.cumsum([len(ids) for ids, _ in feeds])[:-1]
        split = [np.split(output, ends) for output in outputs]
        return [self.response(arrays) for arrays in zip(*split, strict=True)]

    def response(self, arrays: tuple[Any, ...]) -> Any:
        named = dict(zip(self.outputs, arrays, strict=True))
        if "values" in named:
            # The batch was as wide as the fullest row of all its requests.
            width = max(1, int((named["values"] > 0).sum(axis=1).max()))
            named = {name: array[:, :width] for name, array in named.items()}
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in named.items()]
        )


def failure(error: Exception) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
