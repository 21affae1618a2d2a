"""Who does what: the bundle that decides, the one for a share of the requests, the one that only looks on."""

import hashlib
from dataclasses import dataclass

from liveness_service.registry.assignment import Assignment
from liveness_service.registry.engine import Engine


@dataclass(frozen=True, slots=True)
class Share:
    """An engine and the share of requests that it gets, in [0, 1]."""

    engine: Engine
    share: float


@dataclass(frozen=True, slots=True)
class Roles:
    """Who does what."""

    active: Engine | None = None
    previous: Engine | None = None
    """What was active before; still loaded, so that going back takes no time."""
    canary: Share | None = None
    shadow: Share | None = None

    def by_role(self) -> list[tuple[str, Engine | None]]:
        """Each role with who has it."""
        return [
            ("active", self.active),
            ("canary", None if self.canary is None else self.canary.engine),
            ("shadow", None if self.shadow is None else self.shadow.engine),
            ("previous", self.previous),
        ]

    def engines(self) -> set[Engine]:
        """All that are loaded."""
        return {engine for _, engine in self.by_role() if engine is not None}

    def assignment(self) -> Assignment:
        """By reference."""
        canary, shadow = self.canary, self.shadow
        return Assignment(
            None if self.active is None else self.active.reference,
            None if canary is None else canary.engine.reference,
            0.0 if canary is None else canary.share,
            None if shadow is None else shadow.engine.reference,
            0.0 if shadow is None else shadow.share,
        )


def falls_into(share: float, request_id: str, purpose: str) -> bool:
    """Whether a request belongs to a share: the same for the same id, and independent between purposes."""
    digest = hashlib.sha256(f"{purpose}:{request_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64
