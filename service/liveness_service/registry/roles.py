"""The roles of bundles: active decides, canary decides on a share of the requests, shadow scores without deciding."""

import hashlib
from dataclasses import dataclass, replace

from liveness_service.errors import ModelRefusedError
from liveness_service.observability.metrics import Metrics, publish_reference
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
    """The engine that was active before; it stays loaded, so that a roll-back takes no time."""
    canary: Share | None = None
    shadow: Share | None = None

    def by_role(self) -> list[tuple[str, Engine]]:
        """The roles that have an engine, with their engines, the active one first."""
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

    def with_engine(self, old: Engine, new: Engine) -> "Roles":
        """The same roles, with another engine wherever this one is."""

        def renewed(given: Share | None) -> Share | None:
            return replace(given, engine=new) if given is not None and given.engine is old else given

        return Roles(
            active=new if self.active is old else self.active,
            previous=new if self.previous is old else self.previous,
            canary=renewed(self.canary),
            shadow=renewed(self.shadow),
        )

    def assignment(self) -> Assignment:
        """The same roles, with the names of bundles instead of engines."""
        canary, shadow = self.canary, self.shadow
        return Assignment(
            None if self.active is None else self.active.reference,
            None if canary is None else canary.engine.reference,
            0.0 if canary is None else canary.share,
            None if shadow is None else shadow.engine.reference,
            0.0 if shadow is None else shadow.share,
        )


def falls_into(share: float, draw: str, purpose: str) -> bool:
    """Whether a request belongs to a share of the requests.

    The answer for one draw is always the same. Different purposes choose their requests independently of each other.

    Args:
        share: how large the share is, in [0, 1].
        draw: the request's draw, which is hashed. No client may know or choose it, or it could choose its bundle.
        purpose: what the share is for: `canary` or `shadow`.
    """
    digest = hashlib.sha256(f"{purpose}:{draw}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def publish_roles(metrics: Metrics, roles: Roles) -> None:
    """Report in the metrics which bundle has which role, which scores to expect from it, and how many crops wait."""
    filled = roles.by_role()
    metrics.watch_queue(lambda: sum(engine.queue_depth for role, engine in filled if role != "shadow"))
    metrics.model_info.clear()
    metrics.provider_info.clear()
    metrics.model_reference_score.clear()
    for role, engine in filled:
        manifest, bundle = engine.manifest, engine.model.bundle
        metrics.model_info.labels(
            manifest.name, manifest.version, bundle.variant.precision, bundle.scorer.provider, role
        ).set(1)
        for network, provider in engine.model.providers.items():
            metrics.provider_info.labels(role, network, provider).set(1)
        publish_reference(metrics, manifest)


def check_replaces(active: Engine | None, engine: Engine) -> None:
    """Refuse a bundle without an operating point, or without support for clips, that the active bundle has.

    Raises:
        ModelRefusedError: it would leave requests unanswered that the active bundle answers.
    """
    if active is None:
        return
    old, new = active.manifest, engine.manifest
    missing = sorted(set(old.operating_points) - set(new.operating_points))
    if missing:
        raise ModelRefusedError(
            f"{engine.reference} has no operating point {', '.join(missing)}, which requests may name today: "
            "export it with them, or activate it with force"
        )
    if old.temporal is not None and new.temporal is None:
        raise ModelRefusedError(
            f"{engine.reference} scores no clips, {active.reference or 'the active bundle'} does: "
            "export it with a temporal head, or activate it with force"
        )
