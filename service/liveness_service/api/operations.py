"""`/v1/operations/models`: shows and changes which bundle is active, canary or shadow."""

from collections.abc import Awaitable
from typing import Annotated, Self

import structlog
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from liveness_service.api.access import GuardedRoute, Service, requires
from liveness_service.api.openapi import REFUSED, ROLE_REFUSED, WRONG_PARAMETER
from liveness_service.keys import Permission
from liveness_service.registry.engine import Engine
from liveness_service.registry.roles import Share
from liveness_service.registry.store import Available
from liveness_service.service import LivenessService

log = structlog.get_logger(__name__)

router = APIRouter(
    prefix="/v1/operations/models",
    tags=["operations"],
    route_class=GuardedRoute,
    dependencies=[Depends(requires(Permission.OPERATIONS))],
    responses=REFUSED | ROLE_REFUSED,
)


class Wanted(BaseModel):
    """A bundle of the store."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        max_length=200,
        description="Name of its folder; `name@` and the beginning of its manifest's SHA-256 takes nothing else.",
    )


class WantedShare(Wanted):
    """A bundle and the share of requests that it gets."""

    share: float = Field(ge=0, le=1)


class Loaded(BaseModel):
    """A bundle that has a role."""

    model: str | None = Field(description="What it was asked for by; null: `LIVENESS_BUNDLE_PATH` or the default one.")
    name: str
    version: str
    precision: str
    manifest_sha256: str
    share: float | None = Field(default=None, description="Of the requests; null for all, or none.")

    @classmethod
    def of(cls, engine: Engine | None, share: float | None = None) -> Self | None:
        """Describe the bundle of an engine; None for a role without an engine."""
        if engine is None:
            return None
        manifest = engine.manifest
        return cls(
            model=engine.reference,
            name=manifest.name,
            version=manifest.version,
            precision=engine.model.bundle.variant.precision,
            manifest_sha256=manifest.manifest_sha256,
            share=share,
        )

    @classmethod
    def of_share(cls, given: Share | None) -> Self | None:
        """Describe the bundle of a canary or shadow, with its share; None for a role without an engine."""
        return None if given is None else cls.of(given.engine, given.share)


class Stored(BaseModel):
    """A bundle that can be given a role."""

    model: str
    name: str | None
    version: str | None
    manifest_sha256: str | None
    fault: str | None = Field(description="Why it could not be used, as far as its manifest tells.")

    @classmethod
    def of(cls, found: Available) -> Self:
        """Describe a bundle of the store."""
        manifest = found.manifest
        if manifest is None:
            return cls(model=found.name, name=None, version=None, manifest_sha256=None, fault=found.fault)
        return cls(
            model=found.name,
            name=manifest.name,
            version=manifest.version,
            manifest_sha256=manifest.manifest_sha256,
            fault=None,
        )


class RolesOut(BaseModel):
    """The bundles by role in this process."""

    active: Loaded | None
    previous: Loaded | None = Field(description="What a roll-back goes to.")
    canary: Loaded | None = Field(description="Decides for a share of the requests, chosen at random.")
    shadow: Loaded | None = Field(description="Scores a share of the requests too, and only reports.")

    @classmethod
    def of(cls, service: LivenessService) -> Self:
        """Make the answer from the roles at this moment."""
        roles = service.registry.roles
        return cls(
            active=Loaded.of(roles.active),
            previous=Loaded.of(roles.previous),
            canary=Loaded.of_share(roles.canary),
            shadow=Loaded.of_share(roles.shadow),
        )


class ModelsOut(RolesOut):
    """The bundles by role, and those that could be given one."""

    available: list[Stored]


@router.get("", summary="Which bundles are there, and what do they do?")
async def list_roles(service: Service) -> ModelsOut:
    """List roles and store; the store is read anew."""
    available = [Stored.of(bundle) for bundle in await service.registry.available()]
    return ModelsOut(**dict(RolesOut.of(service)), available=available)


@router.put("/active", summary="Let this bundle decide", responses=WRONG_PARAMETER)
async def activate_model(
    wanted: Wanted,
    service: Service,
    force: Annotated[
        bool, Query(description="Even if it lacks operating points, or clips, that the active one has.")
    ] = False,
) -> RolesOut:
    """Load, verify, warm up, then switch; requests in work end with the bundle that they began with."""
    return await _changed(service, "activate", service.registry.activate(wanted.model, force=force))


@router.post("/rollback", summary="Let the previous bundle decide again")
async def roll_back(service: Service) -> RolesOut:
    """Switch at once: the previous bundle is still loaded."""
    return await _changed(service, "rollback", service.registry.roll_back())


@router.put("/canary", summary="Let this bundle decide on a share of the requests", responses=WRONG_PARAMETER)
async def set_canary(wanted: WantedShare, service: Service) -> RolesOut:
    """Load, verify, warm up, then begin."""
    return await _changed(service, "canary", service.registry.set_canary(wanted.model, wanted.share))


@router.delete("/canary", summary="All requests to the active bundle")
async def end_canary(service: Service) -> RolesOut:
    """End it. Without one, nothing changes."""
    return await _changed(service, "canary", service.registry.end_canary())


@router.put("/shadow", summary="Let this bundle score too, and only report", responses=WRONG_PARAMETER)
async def set_shadow(wanted: WantedShare, service: Service) -> RolesOut:
    """Load, verify, warm up, then begin."""
    return await _changed(service, "shadow", service.registry.set_shadow(wanted.model, wanted.share))


@router.delete("/shadow", summary="End the shadow")
async def end_shadow(service: Service) -> RolesOut:
    """End it. Without one, nothing changes."""
    return await _changed(service, "shadow", service.registry.end_shadow())


async def _changed(service: LivenessService, action: str, change: Awaitable[None]) -> RolesOut:
    """Make a change of roles; it is counted and logged, whether it works or fails."""
    outcome = "failed"
    try:
        await change
        outcome = "done"
    finally:
        service.metrics.model_switches.labels(action, outcome).inc()
        now = RolesOut.of(service)
        write = log.info if outcome == "done" else log.error
        write(
            "models_changed",
            action=action,
            outcome=outcome,
            **{
                role: bundle and f"{bundle.model or 'built in'}: {bundle.name} {bundle.version}" for role, bundle in now
            },
        )
    return now
