"""docker-compose.yml, read as Compose does where no variable is set."""

import re
from typing import Any

import yaml

from support.dockerfile import ROOT, Stage, stages_of

TEXT = (ROOT / "docker-compose.yml").read_text()
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
DEFAULTS = dict(VARIABLE.findall(TEXT))


def with_defaults(value: Any) -> Any:
    """As Compose reads it where no variable is set: in every string, after YAML."""
    match value:
        case dict():
            return {name: with_defaults(each) for name, each in value.items()}
        case list():
            return [with_defaults(each) for each in value]
        case str():
            return VARIABLE.sub(r"\2", value)
    return value


COMPOSE: dict[str, Any] = with_defaults(yaml.safe_load(TEXT))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("liveness", "liveness-gpu")
PROFILES = dict(line.split("=") for line in (ROOT / ".env").read_text().splitlines() if "=" in line)


def image_of(service: dict[str, Any]) -> Stage:
    return stages_of(ROOT / service["build"]["dockerfile"])[-1]


def mounts_of(service: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Target -> source and whether it can be written to."""
    mounts = {}
    for volume in service.get("volumes", []):
        if isinstance(volume, str):
            source, target, *options = volume.split(":")
            mounts[target] = (source, "ro" not in options)
        else:
            mounts[volume["target"]] = (volume["source"], not volume.get("read_only", False))
    return mounts


def published(service: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Address and port of the host, port of the container."""
    ports = [port.split(":") for port in service.get("ports", [])]
    return [(address, int(host), int(inside)) for address, host, inside in ports]


def started_with(profile: str) -> set[str]:
    return {name for name, service in SERVICES.items() if profile in service.get("profiles", [profile])}


def ignored_by_git(path: str) -> bool:
    lines = (ROOT / ".gitignore").read_text().splitlines()
    return path.startswith("docker/secrets/") or f"/{path}" in lines or f"/{path}/" in lines
