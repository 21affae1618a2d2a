"""Settings of the service, read from the environment: `LIVENESS_` and the field's name in capitals."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from liveness_core.bundle.manifest import Precision
from liveness_core.detection import DetectorName
from liveness_core.runtime import Provider
from liveness_service.keys import KeyRing
from liveness_service.rates import check_store, parse_rate

_PREFIX = "LIVENESS_"
_NOT_OURS = {"LIVENESS_CLIENT_KEY", "LIVENESS_CLIENT_URL"}
"""Of whoever calls the service, on the same machine perhaps."""
SECRET = {"api_keys", "rate_limit_store"}
"""Fields whose values are not shown in messages: a key or a password may be in them."""


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """What can be set; every value is checked when the service starts."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        use_attribute_docstrings=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` for all. By default only this machine reaches the service: it asks for no key."""
    port: int = Field(default=8000, ge=0, le=65535, validation_alias=AliasChoices("LIVENESS_PORT", "PORT", "port"))
    """Port to listen on; 0 takes a free one. `PORT` without the prefix works too."""
    root_path: str = ""
    """Prefix that a reverse proxy strips, e.g. `/face`; only the links of /docs need it."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: readable in a terminal, JSON elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""

    bundle_path: Path | None = None
    """Folder of the model bundle; the default bundle where it is not set."""
    precision: Precision | None = None
    """Variant of the bundle to run; its first one where it is not set."""
    provider: Provider = "auto"
    """`auto`: CUDA where it works, else the CPU. `cuda`: not ready without CUDA. `cpu`."""
    device_id: int = Field(default=0, ge=0)
    """Which GPU, counted from 0."""
    intra_op_threads: int = Field(default=1, ge=1, le=256)
    """Threads that share one batch; requests already run side by side, so more help only while few arrive."""

    models_url: str | None = None
    """Folder of bundles, one folder each, to choose from at run time; `s3://bucket/prefix` and the like work too."""
    models_cache: Path = Path("/var/cache/liveness")
    """Folder that bundles from afar are copied to before they are verified and used."""
    models_state: Path | None = None
    """File that keeps which bundle has which role, so that a restart does not undo a switch. None: settings decide."""
    active_model: str | None = None
    """Bundle of `LIVENESS_MODELS_URL` that decides; that of `LIVENESS_BUNDLE_PATH`, or the default one, without."""
    canary_model: str | None = None
    """Bundle that decides for a share of the requests, by a hash of their id."""
    canary_share: float = Field(default=0.05, ge=0, le=1)
    """That share."""
    shadow_model: str | None = None
    """Bundle that scores a share of the requests beside the one that decides, and only reports."""
    shadow_share: float = Field(default=0.1, ge=0, le=1)
    """That share."""

    api_keys: str | None = Field(default=None, repr=False)
    """Access keys, one `name:permissions:salt:hash` a line or separated by blanks; `liveness keys new` makes them."""
    api_keys_file: Path | None = None
    """File with such lines, e.g. a secret that is mounted; read at start."""
    allow_anonymous: bool = False
    """Answer without keys though others can reach the service. Without it and without keys it does not start there."""
    rate_limit: str | None = None
    """Most requests of one key, or of one address without keys: `100/minute`, `10/second`. None: no limit."""
    rate_limit_store: str = Field(default="memory://", repr=False)
    """Where they are counted: `memory://` in this process, `redis://host:6379` for all replicas together."""
    audit_log_path: Path | None = None
    """File that gets one JSON line for each verdict, without pictures. What cannot be written is not answered."""

    tracing: bool = False
    """Send OpenTelemetry spans; the exporter reads the standard `OTEL_` variables. Needs the extra `tracing`."""

    detector: DetectorName | None = None
    """Face detector; the one that the bundle was trained with where it is not set. Another one cuts other crops."""
    detector_model: str | None = None
    """Model file (scrfd, yunet) or model pack of insightface (scrfd)."""
    detector_min_confidence: float | None = Field(default=None, ge=0.1, le=0.999)
    """Least confidence for a face; the bundle's, or the chosen detector's default."""

    max_upload_bytes: int = Field(default=20 * 1024 * 1024, ge=1024, le=1 << 30)
    """Largest image file."""
    max_pixels: int = Field(default=50_000_000, ge=10_000, le=200_000_000)
    """Most pixels of an image, read from its header. Decoding needs about 8 bytes for each, in each thread."""
    max_clip_bytes: int = Field(default=50 * 1024 * 1024, ge=1024, le=1 << 30)
    """Largest clip."""
    max_clip_seconds: float = Field(default=30.0, ge=1, le=600)
    """Longest clip, by the times of its frames, whatever its header says."""
    min_clip_seconds: float = Field(default=0.5, ge=0, le=10)
    """A shorter clip is undetermined: a burst says little more than a photo."""
    max_clip_frames: int = Field(default=1_800, ge=8, le=100_000)
    """Most frames of a clip; 30 s at 60 a second."""
    max_clip_pixels: int = Field(default=9_000_000, ge=10_000, le=70_000_000)
    """Most pixels of a clip's frame; 4K has 8.3 million. A decoder holds up to 17 frames of 1.5 bytes a pixel."""
    max_clip_streams: int = Field(default=8, ge=1, le=100)
    """Most streams of a clip's file: pictures, sound, subtitles."""
    max_faces: int = Field(default=10, ge=1, le=100)
    """Most faces that `faces=all` scores."""
    upload_timeout_ms: int = Field(default=15_000, ge=100, le=600_000)
    """How long a client may take to send its image."""
    clip_upload_timeout_ms: int = Field(default=60_000, ge=100, le=3_600_000)
    """How long a client may take to send its clip."""
    deadline_ms: int = Field(default=10_000, ge=10, le=600_000)
    """How long an image may take once it has arrived, waiting included."""
    clip_deadline_ms: int = Field(default=30_000, ge=10, le=3_600_000)
    """How long a clip may take once it has arrived, waiting included."""
    max_inflight: int = Field(default=32, ge=1, le=10_000)
    """Requests in work or waiting; one more is answered 503 before its image is read."""
    max_inflight_clips: int = Field(default=4, ge=1, le=10_000)
    """Clips among them: each holds its file and a decoder in memory, up to 300 MB at the limits."""
    preparation_threads: int = Field(default_factory=available_cores, ge=1, le=256)
    """Threads that decode, detect and align photos, and as many again for clips, for which photos shall not wait."""
    max_batch_size: int = Field(default=8, ge=1, le=256)
    """Most crops in one run of the encoder."""
    max_queue_delay_ms: float = Field(default=0.0, ge=0, le=100)
    """How long a batch that is not full waits for more. At 0 it takes what is there: batches form while one runs."""
    keep_alive_ms: int = Field(default=75_000, ge=1_000, le=3_600_000)
    """How long an idle connection is kept; longer than a load balancer's own limit, usually 60 s, or it sees resets."""
    shutdown_grace_ms: int = Field(default=15_000, ge=0, le=600_000)
    """How long accepted requests have to finish when the service is told to stop."""

    @field_validator("api_keys")
    @classmethod
    def _keys_are_readable(cls, text: str | None) -> str | None:
        if text is not None:
            KeyRing.parse(text)
        return text

    @field_validator("rate_limit")
    @classmethod
    def _rate_is_one(cls, text: str | None) -> str | None:
        if text is not None:
            parse_rate(text)
        return text

    @field_validator("rate_limit_store")
    @classmethod
    def _store_is_known(cls, url: str) -> str:
        return check_store(url)

    @field_validator("tracing")
    @classmethod
    def _can_be_traced(cls, tracing: bool) -> bool:
        if tracing and not all(importlib.util.find_spec(f"opentelemetry.{name}") for name in ("sdk", "exporter")):
            raise ValueError("needs the extra `tracing`: pip install 'face-liveness[service,tracing]'")
        protocols = [os.environ.get(f"OTEL_EXPORTER_OTLP_{name}PROTOCOL") for name in ("TRACES_", "")]
        if tracing and (protocol := next(filter(None, protocols), "http/protobuf")) != "http/protobuf":
            raise ValueError(
                f"spans are sent as http/protobuf, OTEL_EXPORTER_OTLP_PROTOCOL says {protocol}: unset it, and let "
                "OTEL_EXPORTER_OTLP_ENDPOINT name the collector's port for HTTP, usually 4318"
            )
        return tracing


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none: a misspelt limit must not go unnoticed."""
    known = {f"{_PREFIX}{name}".upper() for name in Settings.model_fields} | _NOT_OURS
    return sorted(name for name in environment if name.upper().startswith(_PREFIX) and name.upper() not in known)


def settings_table() -> str:
    """Every setting as a Markdown table: variable, default, meaning."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        if field.default_factory is not None:
            default = "the number of cores"
        else:
            default = "" if field.default in (None, "") else f"`{field.default}`"
        meaning = " ".join((field.description or "").split())
        lines.append(f"| `{_PREFIX}{name.upper()}` | {default} | {meaning} |")
    return "\n".join(lines)
