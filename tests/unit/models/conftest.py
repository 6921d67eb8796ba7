"""What Triton imports to run a model with PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from .torch_served import InferenceResponse, Tensor, TritonError, get_input_tensor_by_name


@pytest.fixture(scope="module")
def executor() -> Iterator[Any]:
    """The module that Triton imports as a model's `model.py`."""
    utils: Any = ModuleType("triton_python_backend_utils")
    utils.Tensor, utils.TritonError = Tensor, TritonError
    utils.InferenceResponse = InferenceResponse
    utils.get_input_tensor_by_name = get_input_tensor_by_name
    sys.modules[utils.__name__] = utils
    yield import_module("sparsegate_server.models.torch_executor")
    del sys.modules[utils.__name__]
