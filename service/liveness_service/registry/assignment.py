"""Which bundle has which role, kept in a file so that a restart does not undo a switch."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from liveness_service.settings import Settings


@dataclass(frozen=True, slots=True)
class Assignment:
    """Roles by the references of bundles; None for a role that nobody has."""

    active: str | None = None
    """None: the bundle of `LIVENESS_BUNDLE_PATH`, or the default one."""
    canary: str | None = None
    canary_share: float = 0.0
    shadow: str | None = None
    shadow_share: float = 0.0

    @classmethod
    def of_settings(cls, settings: Settings) -> Self:
        """As the settings say."""
        return cls(
            settings.active_model,
            settings.canary_model,
            settings.canary_share if settings.canary_model else 0.0,
            settings.shadow_model,
            settings.shadow_share if settings.shadow_model else 0.0,
        )


@dataclass(frozen=True, slots=True)
class _Kept:
    settings: Assignment
    """What the settings said when the roles were kept: once they say something else, they are the newer will."""
    roles: Assignment


_KEPT = TypeAdapter(_Kept)


class RoleStateError(Exception):
    """The file cannot be read or written; the message says what to check."""


def read_roles(path: Path | None, settings: Assignment) -> Assignment:
    """The roles to begin with.

    Raises:
        RoleStateError: the file is there and cannot be read.
    """
    if path is None:
        return settings
    try:
        kept = _KEPT.validate_json(path.read_bytes())
    except FileNotFoundError:
        return settings
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else f"{error.error_count()} fault(s) in its content"
        raise RoleStateError(f"cannot be read ({why}): mend or remove it (LIVENESS_MODELS_STATE)") from error
    return kept.roles if kept.settings == settings else settings


def write_roles(path: Path | None, settings: Assignment, roles: Assignment) -> None:
    """Keep the roles, whole or not at all.

    Raises:
        RoleStateError: they cannot be kept.
    """
    if path is None:
        return
    staging = path.with_name(f".{path.name}.new")
    try:
        with staging.open("w", encoding="utf-8") as file:
            json.dump(asdict(_Kept(settings, roles)), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    except OSError as error:
        raise RoleStateError(f"cannot be written ({error}): check LIVENESS_MODELS_STATE and its folder") from error
