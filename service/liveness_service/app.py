"""Makes the web application: the service, who may use it, its routes, and what happens at start and stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

import liveness_core
from liveness_service.access.gate import Gate
from liveness_service.access.policy import AccessError, Mode
from liveness_service.api import health, liveness, models, operations, page, reasons, sessions
from liveness_service.api.context import RequestContext
from liveness_service.api.cors import Cors, Origins
from liveness_service.api.docs import install_docs
from liveness_service.api.methods import ImpliedMethods
from liveness_service.api.problems import install_handlers
from liveness_service.audit.chain import read_key
from liveness_service.audit.chained_file import Rotation
from liveness_service.audit.log import AuditLog
from liveness_service.keys import Permission
from liveness_service.observability.gpu import nvml_reader
from liveness_service.observability.metrics import Metrics
from liveness_service.observability.tracing import Tracing
from liveness_service.service import LivenessService
from liveness_service.sessions.sessions import Sessions
from liveness_service.settings import Settings, read_settings

log = structlog.get_logger(__name__)


def create_app(settings: Settings | None = None, tracing: Tracing | None = None) -> FastAPI:
    """Make the app. The model is loaded when the app starts.

    Args:
        settings: None reads them from the environment.
        tracing: None takes it from the settings.

    Raises:
        SettingsError: a variable of the environment cannot be used.
        AccessError: others can reach the service, and the settings do not say who may use it; or any page of any origin
            may call a service with keys; or the key of the audit log or of sessions cannot be used.
    """
    settings = settings or read_settings()
    metrics = Metrics()
    traces = tracing or _tracing(settings)
    gate = Gate.of(settings, metrics)
    service = LivenessService(settings, metrics, scoring_keys=len(gate.policy.keys.names_with(Permission.SCORE)))
    origins = Origins.of(settings, gate.policy)
    audit = _audit_log(settings, metrics)
    captures = _sessions(settings, metrics)
    workers = service.workers
    metrics.ready.set_function(
        lambda: (
            not service.stopping
            and service.fault is None
            and not (audit is not None and audit.failing)
            and (workers is None or workers.fault is None)
        )
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        gate.announce(settings)
        if audit is not None:
            await audit.start()
        await service.start()
        if settings.provider != "cpu":
            metrics.gpu_memory.watch(nvml_reader(settings.device_id))
        log.info("service_started", ready=service.fault is None, version=liveness_core.__version__)
        yield
        await service.close()
        if audit is not None:
            await audit.close()
        await captures.close()
        await gate.close()
        await asyncio.to_thread(traces.close)
        log.info("service_stopped")

    app = FastAPI(
        title="Face liveness",
        summary="Tells a live person from a photo or a screen held to the camera.",
        version=liveness_core.__version__,
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,
        redoc_url=None,
        servers=[{"url": settings.root_path}] if settings.root_path else None,
        generate_unique_id_function=lambda route: route.name,  # generated clients name their functions so
        redirect_slashes=False,  # a wrong path is answered with a problem that says so
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the service has its own spans and metrics
    )
    app.state.service = service
    app.state.gate = gate
    app.state.audit = audit
    app.state.sessions = captures
    app.add_middleware(ImpliedMethods)
    if origins:
        app.add_middleware(Cors, origins=origins)
    app.add_middleware(RequestContext, metrics=metrics, tracing=traces)
    install_handlers(app, metrics, docs=settings.docs)
    if settings.docs:
        install_docs(app, settings.root_path)
    app.include_router(liveness.router)
    app.include_router(sessions.router)
    app.include_router(reasons.router)
    app.include_router(models.router)
    app.include_router(operations.router)
    app.include_router(health.router)
    if settings.page:
        app.include_router(page.page_router(docs=settings.docs, keys=gate.policy.mode is Mode.KEYS))
    return app


def _audit_log(settings: Settings, metrics: Metrics) -> AuditLog | None:
    if settings.audit_log_path is None:
        return None
    try:
        key = None if settings.audit_key_file is None else read_key(settings.audit_key_file)
    except ValueError as error:
        raise AccessError(f"LIVENESS_AUDIT_KEY_FILE: {error}") from error
    rotation = Rotation(settings.audit_max_bytes, settings.audit_daily)
    return AuditLog(settings.audit_log_path, metrics, key=key, rotation=rotation)


def _sessions(settings: Settings, metrics: Metrics) -> Sessions:
    try:
        return Sessions.of(settings, metrics)
    except ValueError as error:
        raise AccessError(str(error)) from error


def _tracing(settings: Settings) -> Tracing:
    """Start tracing as it is set; only where it is on are OpenTelemetry's SDK and its exporter imported."""
    if not settings.tracing:
        return Tracing()
    from liveness_service.observability.span_export import exporting

    return exporting(settings)
