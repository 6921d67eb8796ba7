"""`sparsegate-server serve`: the gateway."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sparsegate_server import settings


class InferenceChoice(StrEnum):
    """Where graphs run."""

    ONNX = "onnx"
    TRITON = "triton"
    DUMMY = "dummy"


class LogChoice(StrEnum):
    """How a log line looks."""

    JSON = "json"
    TEXT = "text"


_SETTING = "from the settings"


def serve(
    settings_file: Annotated[
        Path | None,
        typer.Option(
            "--settings", help="A settings file (TOML).", show_default="SPARSEGATE_SETTINGS"
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default=_SETTING)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="gRPC port; 0 takes a free one.", show_default=_SETTING)
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Prometheus port; 0 takes a free one, -1 turns it off.", show_default=_SETTING
        ),
    ] = None,
    inference: Annotated[
        InferenceChoice | None,
        typer.Option(
            help="onnx: in this process. triton: on a Triton server. dummy: made-up vectors.",
            show_default=_SETTING,
        ),
    ] = None,
    triton_url: Annotated[
        list[str] | None,
        typer.Option(help="Triton's gRPC host:port; may be repeated.", show_default=_SETTING),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model to serve; may be repeated. One that is named and cannot be served stops "
            "the start; of the others a warning tells.",
            show_default="all that can be served",
        ),
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(help="The model repository.", show_default=_SETTING, file_okay=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The folder that keeps collections; one process at a time.",
            show_default=_SETTING,
            file_okay=False,
        ),
    ] = None,
    log_format: Annotated[
        LogChoice | None, typer.Option(help="Form of the log lines.", show_default=_SETTING)
    ] = None,
) -> None:
    """Serve the gateway until SIGTERM or Ctrl-C; what was accepted finishes first.

    Options are the strongest settings, then come environment variables
    (SPARSEGATE_SERVER__PORT=50051), the settings file, and the defaults.
    """
    chosen = settings.load(
        settings_file,
        **_given(
            server={"host": host, "port": port, "metrics_port": metrics_port},
            models={"names": model or None, "repository": repository},
            inference={"backend": inference.value if inference else None},
            triton={"urls": triton_url or None},
            index={"folder": data},
            log={"format": log_format.value if log_format else None},
        ),
    )
    # Brings in the whole gateway, which the other commands can do without.
    from sparsegate_server import app  # noqa: PLC0415

    app.run(chosen)


def _given(**sections: dict[str, object]) -> dict[str, object]:
    """The sections without the options that the user left out."""
    kept = {
        name: {key: value for key, value in section.items() if value is not None}
        for name, section in sections.items()
    }
    return {name: section for name, section in kept.items() if section}
