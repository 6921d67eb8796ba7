"""Every setting of the gateway, typed; `settings.toml` beside this file explains the defaults.

Sources, the strongest first: command-line options, environment variables
(`SPARSEGATE_SERVER__PORT=...`: two underscores go one level down), the file that
`SPARSEGATE_SETTINGS` or `--settings` names, the defaults.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from sparsegate_server.errors import FailedPrecondition

DEFAULTS_FILE = Path(__file__).with_name("settings.toml")


def cache_home() -> Path:
    """The folder for what can be fetched or made again: models, kernels, Triton's environment."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sparsegate"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(_Section):
    host: str = "127.0.0.1"
    port: int = Field(50051, ge=0, le=65535)
    metrics_port: int = Field(9464, ge=-1, le=65535)
    drain_seconds: float = Field(20.0, ge=0)
    max_concurrent_requests: int = Field(512, ge=1)


class Models(_Section):
    repository: Path = Path("model_repository")
    names: list[str] = []


class Inference(_Section):
    backend: Literal["onnx", "triton", "dummy"] = "onnx"
    threads: int = Field(0, ge=0)
    max_batch_size: int = Field(32, ge=1, le=256)
    max_batch_tokens: int = Field(0, ge=0)
    max_concurrent_batches: int = Field(0, ge=0)
    max_waiting_tokens: int = Field(1_048_576, ge=1)
    query_cache_bytes: int = Field(33_554_432, ge=0)


class Triton(_Section):
    urls: list[str] = Field(["127.0.0.1:8001"], min_length=1)
    timeout_seconds: float = Field(30.0, gt=0)
    max_attempts: int = Field(4, ge=1)

    @field_validator("urls")
    @classmethod
    def _host_and_port(cls, urls: list[str]) -> list[str]:
        for url in urls:
            if not re.fullmatch(r"(?!https?://|grpc://).+:\d+", url):
                raise ValueError(f"{url!r} is not host:port of a gRPC endpoint, as in triton:8001")
        if len(set(urls)) != len(urls):
            raise ValueError("a server is named twice")
        return urls


class Index(_Section):
    folder: Path = Path("data")
    threads: int = Field(0, ge=0)
    tail_documents: int = Field(1024, ge=1)
    max_unindexed_documents: int = Field(20_000, ge=0)
    scrub_hours: float = Field(24.0, ge=0)


class Limits(_Section):
    max_texts: int = Field(256, ge=1)
    max_documents: int = Field(1000, ge=1)
    max_searches: int = Field(256, ge=1)
    max_limit: int = Field(10_000, ge=1)
    max_text_bytes: int = Field(1_048_576, ge=1)
    max_payload_bytes: int = Field(65_536, ge=0)
    max_payload_depth: int = Field(16, ge=1, le=32)
    max_reply_bytes: int = Field(33_554_432, ge=1)
    max_message_bytes: int = Field(67_108_864, ge=65_536)
    max_snapshot_bytes: int = Field(68_719_476_736, ge=1)


class Log(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class Settings(BaseSettings):
    """The whole tree. Frozen: a running gateway does not change its settings."""

    model_config = SettingsConfigDict(
        env_prefix="SPARSEGATE_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    server: Server = Server()
    models: Models = Models()
    inference: Inference = Inference()
    triton: Triton = Triton()
    index: Index = Index()
    limits: Limits = Limits()
    log: Log = Log()


def _reading(file: str | None) -> type[Settings]:
    """The settings class whose weakest source is a TOML file."""

    class Reading(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            toml = TomlConfigSettingsSource(settings_cls, file) if file else None
            return (init_settings, env_settings, *([toml] if toml else []))

    return Reading


def load(file: Path | None = None, **overrides: object) -> Settings:
    """Reads the settings from all sources.

    Args:
        file: a TOML file; without it, the one that SPARSEGATE_SETTINGS names.
        overrides: sections as dictionaries, the strongest source.

    Raises:
        FailedPrecondition: the file is missing, or a setting is unknown or out of range.
    """
    named = str(file) if file is not None else os.environ.get("SPARSEGATE_SETTINGS")
    if named and not Path(named).is_file():
        raise FailedPrecondition(f"settings file {named} does not exist", field="settings")
    try:
        return _reading(named).model_validate(overrides)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if not where:  # the file itself cannot be read as TOML
            in_file = named and "EnvSettingsSource" not in first["msg"]
            source = f"settings file {named}" if in_file else "environment variables SPARSEGATE_…"
            raise FailedPrecondition(
                f'{source}: {first["msg"]} (a list is written as JSON: ["a", "b"])',
                field="settings",
            ) from error
        raise FailedPrecondition(
            f"setting {where}: {first['msg']}. {DEFAULTS_FILE} explains every setting", field=where
        ) from error
