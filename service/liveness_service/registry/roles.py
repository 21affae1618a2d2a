"""Who does what: the bundle that decides, the one for a share of the requests, the one that only looks on."""

import hashlib
from dataclasses import dataclass

from liveness_service.observability.metrics import Metrics
from liveness_service.observability.reference import publish_reference
from liveness_service.registry.assignment import Assignment
from liveness_service.registry.engine import Engine


@dataclass(frozen=True, slots=True)
class Share:
    """An engine and the share of the requests that it gets, in [0, 1]."""

    engine: Engine
    share: float


@dataclass(frozen=True, slots=True)
class Roles:
    """The engines by role."""

    active: Engine | None = None
    previous: Engine | None = None
    """What was active before; still loaded, so that going back takes no time."""
    canary: Share | None = None
    shadow: Share | None = None

    def by_role(self) -> list[tuple[str, Engine]]:
        """The roles that are filled, the active one first, with their engines."""
        roles = [
            ("active", self.active),
            ("canary", None if self.canary is None else self.canary.engine),
            ("shadow", None if self.shadow is None else self.shadow.engine),
            ("previous", self.previous),
        ]
        return [(role, engine) for role, engine in roles if engine is not None]

    def engines(self) -> set[Engine]:
        """All loaded engines."""
        return {engine for _, engine in self.by_role()}

    def assignment(self) -> Assignment:
        """The roles by the references of their bundles."""
        canary, shadow = self.canary, self.shadow
        return Assignment(
            None if self.active is None else self.active.reference,
            None if canary is None else canary.engine.reference,
            0.0 if canary is None else canary.share,
            None if shadow is None else shadow.engine.reference,
            0.0 if shadow is None else shadow.share,
        )


def falls_into(share: float, request_id: str, purpose: str) -> bool:
    """Whether a request belongs to a share: always the same for the same id, and independent between purposes."""
    digest = hashlib.sha256(f"{purpose}:{request_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def publish_roles(metrics: Metrics, roles: Roles) -> None:
    """Report in the metrics which bundle has which role, the scores to expect of it, and how many crops wait."""
    filled = roles.by_role()
    metrics.watch_queue(lambda: sum(engine.queue_depth for role, engine in filled if role != "shadow"))
    metrics.model_info.clear()
    metrics.model_reference_score.clear()
    for role, engine in filled:
        manifest, bundle = engine.manifest, engine.model.bundle
        metrics.model_info.labels(
            manifest.name, manifest.version, bundle.variant.precision, bundle.scorer.provider, role
        ).set(1)
        publish_reference(metrics, manifest)
