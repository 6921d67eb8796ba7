"""Efforts and calibrations as messages."""

from __future__ import annotations

from dataclasses import asdict, replace

from sparsegate.v1 import effort_pb2
from sparsegate_server.errors import SparsegateError
from sparsegate_server.operations import Calibration, SearchOptions
from sparsegate_server.rpc.convert import content_from
from sparsegate_server.search.resolve import Query
from sparsegate_server.settings import Limits


def with_effort(options: SearchOptions, effort: effort_pb2.Effort) -> SearchOptions:
    """The options, as hard as asked for; exact where nothing was."""
    match effort.WhichOneof("kind"):
        case "level":
            return replace(options, effort=effort.level)
        case "target_recall":
            return replace(options, target_recall=effort.target_recall)
        case _:
            return options


def queries_from(request: effort_pb2.CalibrateEffortRequest, limits: Limits) -> list[Query]:
    """Raises InvalidRequest: a text over its limit."""
    queries = []
    for at, item in enumerate(request.queries):
        try:
            queries.append(Query(request.collection, content_from(item, limits)))
        except SparsegateError as error:
            raise error.under(f"queries[{at}]") from None
    return queries


def calibration_to(calibration: Calibration) -> effort_pb2.EffortCalibration:
    return effort_pb2.EffortCalibration(
        points=[effort_pb2.EffortPoint(**asdict(point)) for point in calibration.points],
        limit=calibration.limit,
        queries=calibration.queries,
        confidence=calibration.confidence,
        documents=calibration.documents,
        sequence=calibration.sequence,
    )
