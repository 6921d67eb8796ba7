"""The embedded engine: a durable, sharded inverted index that knows no models."""

from sparsegate_server.index.batch import Batch
from sparsegate_server.index.collection import Collection
from sparsegate_server.index.kernels import warm_up
from sparsegate_server.index.maintenance import Maintenance
from sparsegate_server.index.recovery import Parameters
from sparsegate_server.index.tuning import Tuning
from sparsegate_server.index.values import Size

__all__ = ["Batch", "Collection", "Maintenance", "Parameters", "Size", "Tuning", "warm_up"]
