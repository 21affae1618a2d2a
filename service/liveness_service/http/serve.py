"""Runs uvicorn until a signal stops it, and stops in an order in which no request is lost."""

import asyncio
import contextlib
import faulthandler
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from liveness_service.http.guard import ConnectionLimits, Guard
from liveness_service.http.protocol import GuardedProtocol
from liveness_service.process import settle_process
from liveness_service.service import LivenessService
from liveness_service.settings import Settings

_FAILED_TO_START = 3
_SPARE_S = 10.0
"""Time beyond the grace time after which a process that still has not ended is ended by force, in seconds."""


def serve_until_stopped(app: Callable[..., Any], service: LivenessService, settings: Settings) -> None:
    """Serve the app until SIGTERM or SIGINT. It returns, or raises the signal again, when everything is done.

    Args:
        app: the ASGI application.
        service: what it serves with; it is told when it is to stop.
        settings: where to listen, and the limits.

    Raises:
        SystemExit: it could not start.
    """
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",  # until the protocol below takes its place
        ws="none",
        workers=1,  # else uvicorn takes WEB_CONCURRENCY, which platforms set, and wants to import the app by its name
        log_config=None,  # `configure_logging` has set up all loggers
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_ms // 1000,
        timeout_graceful_shutdown=max(1, settings.shutdown_grace_ms // 1000),
    )
    config.load()
    # The addresses that may say whom they forward; uvicorn reads them from FORWARDED_ALLOW_IPS.
    proxies = config.loaded_app
    assert isinstance(proxies, ProxyHeadersMiddleware)
    guard = Guard(
        ConnectionLimits.of(settings), service.metrics, is_proxy=lambda address: address in proxies.trusted_hosts
    )
    config.http_protocol_class = GuardedProtocol.with_guard(guard)
    server = _Server(config, guard, settings, service)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(_FAILED_TO_START)


class _Server(uvicorn.Server):
    """Uvicorn's server, which first says that it is about to stop, and answers on meanwhile."""

    def __init__(self, config: uvicorn.Config, guard: Guard, settings: Settings, service: LivenessService) -> None:
        super().__init__(config)
        self._guard = guard
        self._service = service
        self._delay_s = settings.shutdown_delay_ms / 1000
        self._longest_s = self._delay_s + settings.shutdown_grace_ms / 1000 + _SPARE_S

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called at SIGTERM and SIGINT: not ready from here on."""
        self._service.stopping = True
        self._guard.draining = True
        # A watchdog in C: it ends even a process in which a decoder never lets go of the interpreter's lock, and its
        # traceback says where that is.
        faulthandler.dump_traceback_later(self._longest_s, exit=True)
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load everything, then listen."""
        await super().startup(sockets)
        settle_process()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Give balancers time to turn to others, then finish what is in work and stop.

        Until the delay is over, requests are answered as ever, and each answer closes its connection. So a connection
        that is in use is gone before idle ones are closed: closing it while its client sends would lose that request.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._delay_s
        for connection in list(self.server_state.connections):
            if isinstance(connection, GuardedProtocol):
                connection.drain()
        while loop.time() < until and not self.force_exit:  # noqa: ASYNC110 (uvicorn has a flag and no event)
            await asyncio.sleep(min(0.05, self._delay_s))
        await super().shutdown(sockets)
