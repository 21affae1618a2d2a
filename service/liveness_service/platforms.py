"""What hosting platforms put into the environment, unasked: none of it stops the start, none is ignored in silence."""

import re
from collections.abc import Mapping
from typing import Final

_NO_EFFECT: Final[Mapping[str, str]] = {
    "WEB_CONCURRENCY": "the service is one process that answers requests side by side; LIVENESS_WORKERS says how many "
    "processes read uploads, and more replicas take more requests",
    "GUNICORN_CMD_ARGS": "the service runs without gunicorn; every setting is a LIVENESS_ variable (docs/settings.md)",
}
_OF_UVICORN = "only uvicorn's own command reads it; every setting is a LIVENESS_ variable (docs/settings.md)"
_LINK = re.compile(r"LIVENESS_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)")
_ADDRESS = re.compile(r"(tcp|udp)://")


def is_address(port: object) -> bool:
    """Whether a value for a port is the address that Kubernetes and Docker write there for a service of that name."""
    return isinstance(port, str) and _ADDRESS.match(port) is not None


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes (or a Docker link) has set this variable for a service whose name begins with `liveness`."""
    return _LINK.fullmatch(name) is not None and (name != "LIVENESS_PORT" or is_address(value))


def without_effect(environment: Mapping[str, str], port: int) -> dict[str, str]:
    """Variables of platforms that change nothing, and why, for the log.

    Args:
        environment: the variables.
        port: where the service listens.
    """
    found = {name: why for name, why in _NO_EFFECT.items() if environment.get(name, "1") not in ("", "1")}
    for name, value in environment.items():
        if name.startswith("UVICORN_"):
            found[name] = _OF_UVICORN
        elif is_service_link(name, value):
            found[name] = "Kubernetes sets it for a service of that name; `enableServiceLinks: false` keeps it out"
    if environment.get("PORT", str(port)) not in ("", str(port)) and port:
        found["PORT"] = f"LIVENESS_PORT or --port comes first: the service listens on {port}"
    return found
