"""`liveness serve`: checks that the port is free before a model is loaded, then serves until a signal."""

import errno
import os
import socket
from collections.abc import Mapping

import structlog

from liveness_service.access.policy import AccessError
from liveness_service.app import create_app
from liveness_service.fields import similar
from liveness_service.http.serve import serve_until_stopped
from liveness_service.observability.logs import configure_logging
from liveness_service.platforms import without_effect
from liveness_service.settings import Settings, unknown_variables

log = structlog.get_logger("liveness_service")
_WHY = {
    errno.EADDRINUSE: "address already in use: stop what listens there, or choose another port with --port or "
    "LIVENESS_PORT (0 takes a free one)",
    errno.EACCES: "not permitted: the system keeps low ports for root, so choose one from 1024 on with --port or "
    "LIVENESS_PORT",
    errno.EADDRNOTAVAIL: "this machine has no such address: give one of its own with --host or LIVENESS_HOST, "
    "127.0.0.1 for this machine alone, 0.0.0.0 for all",
}


class CannotServeError(Exception):
    """The service cannot start; the message says what to change."""


def run(settings: Settings, environment: Mapping[str, str]) -> None:
    """Serve the API until a signal stops it.

    Args:
        settings: all settings.
        environment: where they came from, to warn of variables in it that have no effect.

    Raises:
        CannotServeError: it cannot start with these settings.
        SystemExit: it could not start for another reason.
    """
    configure_logging(settings)
    for name in unknown_variables(environment):
        meant = similar(name, (f"LIVENESS_{field}".upper() for field in Settings.model_fields))
        hint = "" if meant is None else f"; did you mean {meant}?"
        log.warning("unknown_setting", variable=name, note=f"it has no effect: check its spelling{hint}")
    for name, why in without_effect(environment, settings.port).items():
        log.warning("variable_without_effect", variable=name, note=why)
    try:
        application = create_app(settings)
    except AccessError as error:
        raise CannotServeError(str(error)) from error
    check_port(settings.host, settings.port)
    serve_until_stopped(application, application.state.service, settings)


def check_port(host: str, port: int) -> None:
    """Check that the port can be listened on: nothing listens yet, so what is refused here saves loading a model.

    Raises:
        CannotServeError: it cannot.
    """
    try:
        places = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise CannotServeError(f"{host}: {error.strerror}: LIVENESS_HOST is an address of this machine") from error
    for family, kind, protocol, _, address in places:
        try:
            with socket.socket(family, kind, protocol) as tried:
                if os.name == "posix":  # as the server does; elsewhere it would let two listen on one port
                    tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                tried.bind(address)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:  # no IPv6 here; the server passes over it too
                continue
            why = _WHY.get(error.errno or 0, error.strerror or str(error))
            raise CannotServeError(f"cannot listen on {host} port {port}: {why}") from error
