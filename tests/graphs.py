"""Graphs that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import onnx

from sparsegate_server.models.signature import FINGERPRINT_KEY


def relabel(file: Path, fingerprint: str) -> None:
    """Has a graph say that it is another model's, or with "" nobody's."""
    graph = onnx.load(file)
    onnx.helper.set_model_props(graph, {FINGERPRINT_KEY: fingerprint} if fingerprint else {})
    onnx.save(graph, file)
