"""NVIDIA's Triton from its wheel, on this machine and loopback: for laptops, tests and the demo.

In production Triton runs from NVIDIA's own image, and none of this is needed.
"""

from sparsegate_server.inference.tritonserver.environment import Environment, install
from sparsegate_server.inference.tritonserver.server import Ports, TritonServer

__all__ = ["Environment", "Ports", "TritonServer", "install"]
