"""Records which bundle has which role, in a file, so that a restart does not undo a switch."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from liveness_service.settings import Settings


@dataclass(frozen=True, slots=True)
class Assignment:
    """For each role the name of its bundle in the store, with or without a digest; None for a role without a bundle."""

    active: str | None = None
    """None: the bundle of `LIVENESS_BUNDLE_PATH`, or the default bundle."""
    canary: str | None = None
    canary_share: float = 0.0
    """Share of the requests for which the canary decides, in [0, 1]."""
    shadow: str | None = None
    shadow_share: float = 0.0
    """Share of the requests that the shadow scores, in [0, 1]."""

    @classmethod
    def of_settings(cls, settings: Settings) -> Self:
        """The roles that the settings give."""
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
    """The roles in the settings when the file was written. If the settings differ now, they are newer and win."""
    roles: Assignment
    """The roles at the last change."""


_KEPT = TypeAdapter(_Kept)


class RoleStateError(Exception):
    """The file of roles cannot be read or written; the message says what to check."""


class AssignmentFile:
    """Keeps the roles in a file between two starts. Without a path it keeps nothing, and the settings decide."""

    def __init__(self, path: Path | None, settings: Assignment) -> None:
        self.path = path
        self._settings = settings

    def read(self) -> Assignment:
        """The roles for the start: those of the file, or those of the settings if there is no file or they changed.

        Raises:
            RoleStateError: the file exists but cannot be read.
        """
        if self.path is None:
            return self._settings
        try:
            kept = _KEPT.validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return self._settings
        except (OSError, ValidationError) as error:
            why = error.strerror if isinstance(error, OSError) else f"{error.error_count()} fault(s) in its content"
            raise RoleStateError(f"cannot be read ({why}): repair or remove it (LIVENESS_MODELS_STATE)") from error
        return kept.roles if kept.settings == self._settings else self._settings

    def write(self, roles: Assignment) -> None:
        """Write the roles to the file, completely or not at all.

        Raises:
            RoleStateError: the file cannot be written.
        """
        if self.path is None:
            return
        staging = self.path.with_name(f".{self.path.name}.new")
        try:
            with staging.open("w", encoding="utf-8") as file:
                json.dump(asdict(_Kept(self._settings, roles)), file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            staging.replace(self.path)
        except OSError as error:
            raise RoleStateError(f"cannot be written ({error}): check LIVENESS_MODELS_STATE and its folder") from error
