"""Settings of the service. Each is an environment variable: `LIVENESS_` and the field's name in capitals."""

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from liveness_core.bundle.manifest import Precision
from liveness_core.detection import DetectorName
from liveness_core.runtime import Provider
from liveness_service.cores import available_cores
from liveness_service.fields import allowed, table
from liveness_service.keys import KeyRing, parse_points
from liveness_service.origins import parse_origins
from liveness_service.platforms import is_address, is_service_link
from liveness_service.rates import check_store, parse_rate

_PREFIX = "LIVENESS_"
_OF_COMMANDS = {"LIVENESS_CLIENT_KEY", "LIVENESS_CLIENT_URL", "LIVENESS_SIGNING_PASSPHRASE"}
"""Variables of `liveness models`, as a client of a running service and to sign bundles; they are not settings."""
_PREFIX_OF_PATHS = re.compile(r"(/([A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+)*")
"""The characters of RFC 3986 that stand for themselves in a path and have no meaning in HTML or in a script."""
SECRET = {"api_keys", "rate_limit_store", "session_store"}
"""Fields whose values no message may show, since they may contain a key or a password."""


class SettingsError(ValueError):
    """Settings that cannot be used; the message has a line for each, with its variable and what is wrong with it."""


class Settings(BaseSettings):
    """All settings of the service; every value is checked when the service starts."""

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
    """Address to listen on; `0.0.0.0` for all. The default lets only this machine in, since no key is asked for."""
    port: int = Field(default=8000, ge=0, le=65535, validation_alias=AliasChoices("LIVENESS_PORT", "PORT", "port"))
    """Port to listen on; 0 takes a free one. The variable `PORT`, without the prefix, works too."""
    root_path: str = ""
    """Prefix that a reverse proxy removes from the path, e.g. `/face`; only the links of /docs need it."""
    docs: bool = True
    """Answer `/docs` and `/openapi.json`, to everybody. Off: 404 there."""
    page: bool = True
    """Answer the demo page `/`, to everybody. Off: 404 there."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`console` is for people, `json` for machines; `auto`: `console` in a terminal, else `json`."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest severity that is logged."""

    bundle_path: Path | None = None
    """Folder of the model bundle. Not set: the default bundle."""
    bundle_public_keys: Path | None = None
    """PEM file or folder (`*.pem`, `*.pub`): only bundles signed by one of these keys. Not set: unsigned ones too."""
    precision: Precision | None = None
    """Variant of the bundle to run. Not set: on a GPU `fp16` if the bundle has it, else the bundle's first variant."""
    provider: Provider = "auto"
    """Where models run: `tensorrt`, `cuda`, `openvino`, `cpu`, or `auto`, the first of these that is installed and
    works; `openvino` only on processors with AMX. Any but `auto`: not ready where it does not work, or leaves nodes
    of a network to the CPU."""
    provider_cache: Path | None = None
    """Folder that keeps what TensorRT and OpenVINO compile from one start to the next. Not set: nothing is kept."""
    provider_failure: Literal["fallback", "unready"] = "fallback"
    """When a provider fails while the service runs: `fallback` goes on with the next one (TensorRT, CUDA, CPU),
    `unready` waits until it works again."""
    device_id: int = Field(default=0, ge=0)
    """Number of the GPU, counted from 0."""
    gpu_memory_mb: int | None = Field(default=None, ge=64, le=1 << 20)
    """Most of the GPU's memory that each network takes through CUDA, in MiB. Not set: no limit."""
    cuda_graphs: bool = False
    """Record the GPU's work for each size of a batch and replay it as a whole; `cuda` only."""
    intra_op_threads: int = Field(default=1, ge=1, le=256)
    """Threads that share the work of one batch, at most one a core. More than 1 helps only while few requests run."""

    models_url: str | None = None
    """Store of bundles to choose from at run time: a folder with one folder a bundle, or e.g. `s3://bucket/prefix`."""
    models_cache: Path = Path("/var/cache/liveness")
    """Folder to which bundles from an object store are copied before they are verified and used."""
    models_state: Path | None = None
    """File that keeps the roles of bundles, so that a restart does not undo a switch. Not set: the settings decide."""
    active_model: str | None = None
    """Bundle of `LIVENESS_MODELS_URL` that decides. Not set: that of `LIVENESS_BUNDLE_PATH`, or the default bundle."""
    canary_model: str | None = None
    """Bundle that decides for a share of the requests, chosen at random."""
    canary_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the requests for which the canary decides, 0 to 1."""
    shadow_model: str | None = None
    """Bundle that also scores a share of the requests, after they are answered; it reports and decides nothing."""
    shadow_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the requests that the shadow scores, 0 to 1."""

    api_keys: str | None = Field(default=None, repr=False)
    """Entries of access keys, one a line or separated by blanks; `liveness keys new` makes a key and its entry."""
    api_keys_file: Path | None = None
    """File with such entries, e.g. a mounted secret; read at start."""
    key_operating_points: str | None = None
    """Operating points of callers, `KEY=POINT` separated by blanks: a key's name, and the point that counts for its
    requests where they name none. Not set, and for other keys: the bundle's default."""
    allow_anonymous: bool = False
    """Answer everybody, without keys. Where others can reach the service, it needs keys or this setting to start."""
    cors_origins: str | None = None
    """Origins whose pages may call `/v1/`, e.g. `https://app.example.com`, separated by blanks; `*`: any, without keys
    only. Not set: none."""
    rate_limit: str | None = None
    """Most requests of one key, or of one address where there are no keys, e.g. `100/minute`. Not set: no limit."""
    rate_limit_store: str = Field(default="memory://", repr=False)
    """Where requests are counted: `memory://` in each process, `redis://host:6379` for all replicas together."""
    audit_log_path: Path | None = None
    """File that gets a JSON line for each verdict, without pictures. A verdict that cannot be written is not given."""
    audit_key_file: Path | None = None
    """File with the secret that seals the lines, 32 bytes or more, read at start. Not set: hashes without a secret."""
    audit_max_bytes: int | None = Field(default=None, ge=10_000)
    """Most bytes of that file; then it gets time and number behind its name, and a new one begins. Not set: any."""
    audit_daily: bool = False
    """Begin a new file each day (UTC) too."""

    session_store: str = Field(default="memory://", repr=False)
    """Where capture sessions and digests of files are kept: `memory://`, in this process, or `redis://…`, for all."""
    session_key_file: Path | None = None
    """File with the secret that signs sessions' tokens, 32 bytes or more. Not set: random, and `memory://` only."""
    session_ttl_s: int = Field(default=300, ge=1, le=86_400)
    """Longest time in seconds in which a session's upload may begin, and the default of it."""
    session_result_s: int = Field(default=600, ge=1, le=86_400)
    """How long a session's verdict waits to be read, in seconds."""
    max_sessions: int = Field(default=10_000, ge=1, le=10_000_000)
    """Most sessions of one key that are kept at once, open or ended; 429 beyond. 10,000 take up to 50 MB of memory."""
    seen_window_s: int | None = Field(default=None, ge=1, le=31_536_000)
    """How long files are remembered, in seconds: the same one of the same key is `seen_before`. Not set: not at all."""

    tracing: bool = False
    """Send OpenTelemetry spans, as the standard `OTEL_` variables say. Needs the extra `tracing`."""

    detector: DetectorName | None = None
    """Face detector. Not set: the one that the bundle was trained with; another one cuts different crops."""
    detector_model: str | None = None
    """Model file of the detector (scrfd, yunet), or name of a model pack of insightface (scrfd)."""
    detector_min_confidence: float | None = Field(default=None, ge=0.1, le=0.999)
    """Lowest confidence that counts as a face. Not set: the bundle's value, or the default of another detector."""

    max_upload_bytes: int = Field(default=20 * 1024 * 1024, ge=1024, le=1 << 30)
    """Most bytes of an image file."""
    max_pixels: int = Field(default=50_000_000, ge=10_000, le=200_000_000)
    """Most pixels of an image, by its header. Decoding takes 8 bytes of memory a pixel, a progressive JPEG up to 13."""
    max_scans: int = Field(default=64, ge=20, le=1_000)
    """Most scans of a JPEG (cameras write 1, encoders at most 18), and 20 if it has `LIVENESS_MAX_PIXELS` pixels."""
    max_clip_bytes: int = Field(default=50 * 1024 * 1024, ge=1024, le=1 << 30)
    """Most bytes of a clip's file."""
    max_clip_seconds: float = Field(default=30.0, ge=1, le=600)
    """Longest clip, in seconds, by the times of its frames; what its header says does not count."""
    min_clip_seconds: float = Field(default=0.5, ge=0, le=10)
    """Shortest clip that is scored, in seconds; a shorter one says little more than a photo and is undetermined."""
    max_clip_frames: int = Field(default=1_800, ge=8, le=100_000)
    """Most frames of a clip; the default is 30 s at 60 frames a second."""
    max_clip_pixels: int = Field(default=9_000_000, ge=10_000, le=70_000_000)
    """Most pixels of a clip's frame; 4K has 8.3 million. A decoder holds up to 17 frames, at 1.5 bytes a pixel."""
    max_clip_decoded_pixels: int = Field(default=3_000_000_000, ge=1_000_000, le=10**12)
    """Most pixels that are decoded of a clip, from keyframes to the frames used; 3 billion take about 3 s of a core."""
    max_clip_cpu_ms: int = Field(default=10_000, ge=100, le=600_000)
    """Most processor time for reading a clip and finding its faces, in milliseconds."""
    max_clip_streams: int = Field(default=8, ge=1, le=100)
    """Most streams in a clip's file: pictures, sound and subtitles together."""
    max_faces: int = Field(default=10, ge=1, le=100)
    """Most faces in an image with `faces=all`; an image with more is undetermined."""
    max_connections: int = Field(default=512, ge=1, le=100_000)
    """Most connections at once. One more takes the place of one that has no request in work, or is answered 503."""
    max_connections_per_address: int | None = Field(default=None, ge=1, le=100_000)
    """Most of them from one address, proxies in `FORWARDED_ALLOW_IPS` excepted. Not set: half of all connections."""
    max_header_bytes: int = Field(default=32 * 1024, ge=1024, le=1 << 20)
    """Most bytes of a request's target and header fields together; 431 beyond."""
    header_timeout_ms: int = Field(default=10_000, ge=100, le=600_000)
    """How long a request's head may take, and how long a new connection may stay without one."""
    max_pipelined: int = Field(default=8, ge=0, le=1_000)
    """Most requests that a client may send ahead of the answer to the one in work; more of them are not answered."""
    answer_timeout_ms: int = Field(default=30_000, ge=100, le=600_000)
    """How long a client may take to read its answer."""
    max_uploads: int | None = Field(default=None, ge=1, le=100_000)
    """Most uploads that arrive at once; one more gets 503 unread. Not set: four times `LIVENESS_MAX_INFLIGHT`."""
    max_uploads_per_key: int | None = Field(default=None, ge=1, le=100_000)
    """Most of them of one key, or of one address where there are no keys; 429 beyond. Not set: half of all uploads."""
    max_held_bytes: int = Field(default=512 * 1024 * 1024, ge=1024, le=1 << 40)
    """Most bytes of uploads in memory, from their arrival to their answer; half of it for one key or address."""
    min_upload_rate: int = Field(default=1_024, ge=0, le=1 << 30)
    """Fewest bytes a second of an upload on average, after its first five seconds; 408 below."""
    upload_timeout_ms: int = Field(default=15_000, ge=100, le=600_000)
    """How long a client may take to send its image."""
    clip_upload_timeout_ms: int = Field(default=60_000, ge=100, le=3_600_000)
    """How long a client may take to send its clip."""
    deadline_ms: int = Field(default=10_000, ge=10, le=600_000)
    """How long the answer for an image may take after the upload, time in the queue included."""
    clip_deadline_ms: int = Field(default=30_000, ge=10, le=3_600_000)
    """How long the answer for a clip may take after the upload, time in the queue included."""
    max_inflight: int = Field(default=32, ge=1, le=10_000)
    """Most requests in work or waiting, after their upload. While there are as many, uploads get 503 unread."""
    max_inflight_clips: int = Field(default=4, ge=1, le=10_000)
    """Most clips among these requests. A clip's file and decoder take up to 300 MB of memory at the default limits."""
    max_inflight_per_key: int | None = Field(default=None, ge=1, le=10_000)
    """Most requests in work of one key, or of one address where there are no keys; 429 beyond. Not set: no limit."""
    max_inflight_clips_per_key: int | None = Field(default=None, ge=1, le=10_000)
    """Most clips among these requests. Not set: where several keys may send clips, one place is left to the others."""
    preparation_threads: int = Field(default_factory=available_cores, ge=1, le=256)
    """How many photos are decoded, searched and cut at once, and as many clips, so that photos do not wait for them."""
    workers: int | None = Field(default=None, ge=0, le=256)
    """Processes that decode, detect and align photos; as many more do it for clips. Not set: as many as
    `LIVENESS_PREPARATION_THREADS`. 0: in threads of the service, where a broken decoder stops everything."""
    worker_memory_mb: int = Field(default=1_280, ge=256, le=65_536)
    """Most memory of one of these processes, in MiB. Most uploads may take less: as much as their headers promise."""
    max_batch_size: int = Field(default=8, ge=1, le=256)
    """Most crops in one run of the encoder."""
    max_queue_delay_ms: float = Field(default=0.0, ge=0, le=100)
    """How long a batch that is not full waits for more crops. With 0, a batch takes the crops that queued meanwhile."""
    keep_alive_ms: int = Field(default=75_000, ge=1_000, le=3_600_000)
    """How long an idle connection stays open. Keep it above a load balancer's limit, usually 60 s, to avoid resets."""
    shutdown_delay_ms: int = Field(default=1_000, ge=0, le=600_000)
    """How long requests are still taken after the signal to stop, when the service is not ready any more."""
    shutdown_grace_ms: int = Field(default=15_000, ge=0, le=600_000)
    """How long accepted requests have to finish when the service is told to stop."""

    @property
    def worker_count(self) -> int:
        """How many processes prepare photos, and as many clips; 0 if threads do it."""
        return self.preparation_threads if self.workers is None else self.workers

    @field_validator("port", mode="before")
    @classmethod
    def _port_is_no_address(cls, port: object) -> object:
        # Kubernetes writes LIVENESS_PORT=tcp://10.0.0.1:80 where a service is called `liveness`.
        return (os.environ.get("PORT") or 8000) if is_address(port) else port

    @field_validator("root_path")
    @classmethod
    def _prefix_is_a_path(cls, prefix: str) -> str:
        prefix = prefix.removesuffix("/")
        if not _PREFIX_OF_PATHS.fullmatch(prefix) or ".." in prefix.split("/"):
            raise ValueError(
                "not a prefix of paths: write e.g. /face, a slash before each part, and of letters, digits, . _ ~ - "
                "and %xx only"
            )
        return prefix

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, text: str | None) -> str | None:
        if text is not None:
            parse_origins(text)
        return text

    @field_validator("api_keys", "rate_limit")
    @classmethod
    def _is_readable(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None:
            (KeyRing.parse if info.field_name == "api_keys" else parse_rate)(text)
        return text

    @field_validator("key_operating_points")
    @classmethod
    def _points_are_readable(cls, text: str | None) -> str | None:
        if text is not None:
            parse_points(text)
        return text

    @field_validator("rate_limit_store", "session_store")
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


def read_settings(**given: object) -> Settings:
    """Read the settings from the environment; `given` ones come first.

    Raises:
        SettingsError: some cannot be used.
    """
    try:
        return Settings(**given)  # type: ignore[arg-type]  # checked by pydantic
    except ValidationError as error:
        lines = []
        for fault in error.errors(include_url=False):
            name = str(fault["loc"][0]) if fault["loc"] else ""
            field = name.removeprefix(_PREFIX).lower()
            known = Settings.model_fields.get(field)
            shown = "" if field in SECRET else f" (given: {fault['input']!r})"
            lines.append(f"{_variable(field)}: {fault['msg'].removeprefix('Value error, ')}{shown}{allowed(known)}")
        raise SettingsError("\n".join(lines)) from error


def _variable(field: str) -> str:
    """The environment variable of a field: for the port, the one of two that is set."""
    name = f"{_PREFIX}{field.upper()}"
    return "PORT" if field == "port" and name not in os.environ and os.environ.get("PORT") else name


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are not, so that a misspelt limit does not go unnoticed."""
    known = {f"{_PREFIX}{name}".upper() for name in Settings.model_fields} | _OF_COMMANDS
    return sorted(
        name
        for name, value in environment.items()
        if name.upper().startswith(_PREFIX) and name.upper() not in known and not is_service_link(name, value)
    )


def settings_table() -> str:
    """Every setting as a Markdown table: variable, default, meaning."""
    return table(Settings.model_fields, _PREFIX)
