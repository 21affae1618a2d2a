"""Runs several bundles side by side and changes their roles.

A change first loads, verifies and warms up the bundle; then one assignment in the event loop switches the role. A
request keeps the engine that it began with, and an engine stops once no request uses it. So no request is dropped, and
none meets a bundle that is half loaded.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

import structlog

from liveness_service.errors import ModelRefusedError, ModelUnavailableError, NoPreviousModelError
from liveness_service.observability.metrics import Metrics
from liveness_service.registry.assignment import Assignment, AssignmentFile, RoleStateError
from liveness_service.registry.engine import Engine
from liveness_service.registry.failover import Failover, OnFailure
from liveness_service.registry.roles import Roles, Share, check_replaces, falls_into, publish_roles
from liveness_service.registry.shadow import ShadowRunner
from liveness_service.registry.source import BundleSource, EngineSource
from liveness_service.registry.store import Available
from liveness_service.results import Result
from liveness_service.scoring.model import Model
from liveness_service.settings import Settings
from liveness_service.submission import Submission
from liveness_service.workers.preparer import Workers

log = structlog.get_logger(__name__)


class ModelRegistry:
    """Holds the loaded engines by role and changes the roles, one change at a time."""

    def __init__(
        self,
        source: EngineSource,
        state: AssignmentFile,
        metrics: Metrics,
        shadows: ShadowRunner,
        on_provider_failure: OnFailure = "fallback",
    ) -> None:
        """Make a registry without any engine; `begin` loads the first ones.

        Args:
            source: loads bundles and starts engines.
            state: keeps the roles for the next start.
            metrics: report which bundle has which role.
            shadows: lets the shadow score requests that were answered.
            on_provider_failure: what to do when an execution provider fails.
        """
        self.roles = Roles()
        self._source = source
        self._state = state
        self._metrics = metrics
        self._shadows = shadows
        self._fault: ModelUnavailableError | None = ModelUnavailableError("model", "not loaded yet")
        self._lock = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._failover = Failover(
            on_provider_failure,
            metrics,
            load=lambda engine, provider: source.load(engine.reference, provider),
            replace=self._replace,
        )

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics, workers: Workers | None = None) -> Self:
        """Make the registry for the bundles that the settings name."""
        shadows = ShadowRunner(metrics, None if workers is None else workers.shadow)
        pools = None if workers is None else workers.serving
        source = BundleSource(settings, shadows.threads, metrics.batch_size.observe, pools)
        state = AssignmentFile(settings.models_state, Assignment.of_settings(settings))
        return cls(source, state, metrics, shadows, settings.provider_failure)

    @property
    def fault(self) -> ModelUnavailableError | None:
        """Why there is no active model that scores; None while there is one."""
        active = self.roles.active
        return self._fault or (None if active is None else self._failover.faults.get(active) or active.fault)

    async def begin(self) -> None:
        """Load the bundles that have a role at the start.

        If the active bundle cannot be loaded, nothing is raised: `fault` then says why. If another bundle cannot be
        loaded, its role stays empty, and the log says why.
        """
        try:
            wanted = self._state.read()
        except RoleStateError as error:
            self._fault = ModelUnavailableError(str(self._state.path), str(error))
            log.error("model_unavailable", file=self._fault.file, reason=self._fault.reason)
            return
        try:
            model = await asyncio.to_thread(self._source.load, wanted.active)
        except ModelUnavailableError as error:
            self._fault = error
            return
        self._fault = None
        self._set(Roles(active=self._source.start(wanted.active, model, as_shadow=False)))
        if wanted.canary is not None:
            await self._begin_role("canary", wanted.canary, wanted.canary_share)
        if wanted.shadow is not None:
            await self._begin_role("shadow", wanted.shadow, wanted.shadow_share)

    async def _begin_role(self, role: str, reference: str, share: float) -> None:
        as_shadow = role == "shadow"
        try:
            engine = await self._engine(reference, as_shadow=as_shadow)
            with self._stopped_unless_used(engine):
                given = Share(engine, share)
                if as_shadow:
                    self._set(replace(self.roles, shadow=given))
                else:
                    check_replaces(self.roles.active, engine)
                    self._set(replace(self.roles, canary=given))
        except ModelRefusedError as error:
            log.error("role_not_filled", role=role, model=reference, reason=error.detail)

    def choose(self, draw: str) -> Engine:
        """The engine that decides on this request: the canary's for its share of the requests, else the active one.

        Args:
            draw: the random text of this request, by which shares are chosen.

        Raises:
            ModelUnavailableError: no active model is loaded; the error names the file at fault and the reason.
        """
        canary = self.roles.canary
        if (
            canary is not None
            and canary.engine not in self._failover.faults
            and falls_into(canary.share, draw, "canary")
        ):
            return canary.engine
        return self.active()

    def active(self) -> Engine:
        """The engine that decides on all requests outside a canary's share.

        Raises:
            ModelUnavailableError: no active model is loaded; the error names the file at fault and the reason.
        """
        if (fault := self.fault) is not None:
            raise ModelUnavailableError(fault.file, fault.reason) from fault
        if self.roles.active is None:
            raise ModelUnavailableError("model", "not loaded yet")
        return self.roles.active

    def role_of(self, engine: Engine) -> str:
        """The role of an engine that decided; an engine that has lost its role since then counts as active."""
        canary = self.roles.canary
        return "canary" if canary is not None and canary.engine is engine else "active"

    def show_shadow(self, submission: Submission, answered: Result) -> None:
        """Let the shadow score an answered submission too, if it is in the shadow's share of the requests."""
        shadow = self.roles.shadow
        if shadow is not None and falls_into(shadow.share, submission.draw, "shadow"):
            self._shadows.offer(shadow.engine, submission, answered)

    async def available(self) -> list[Available]:
        """The bundles of the store; empty if the settings name no store.

        Raises:
            ModelRefusedError: the store cannot be read.
        """
        with _refused():
            return await asyncio.to_thread(self._source.available)

    async def activate(self, reference: str, *, force: bool = False) -> None:
        """Make a bundle the active one. A canary with the same bundle ends, since the bundle now decides everywhere.

        Args:
            reference: name of the bundle in the store.
            force: accept a bundle that lacks operating points, or clips, that the active one has.

        Raises:
            ModelRefusedError: the bundle is missing or unsound or, without `force`, would leave requests unanswered
                that the active bundle answers.
        """
        async with self._lock:
            roles = self.roles
            engine = await self._engine(reference, as_shadow=False)
            with self._stopped_unless_used(engine):
                if not force:
                    check_replaces(self.roles.active, engine)
                canary = roles.canary
                if canary is not None and canary.engine.reference == reference:
                    canary = None
                # An engine that is active already does not become its own predecessor: a roll-back would do nothing.
                previous = roles.previous if engine is roles.active else roles.active
                await self._change(replace(roles, active=engine, previous=previous, canary=canary))

    async def roll_back(self) -> None:
        """Make the previous bundle active again; the active one becomes the previous one.

        Raises:
            NoPreviousModelError: no other bundle was active before in this process.
        """
        async with self._lock:
            roles = self.roles
            if roles.previous is None:
                raise NoPreviousModelError(
                    "no bundle was active before this one in this process: activate one by its name"
                )
            await self._change(replace(roles, active=roles.previous, previous=roles.active))

    async def set_canary(self, reference: str, share: float) -> None:
        """Let a bundle decide on a share of the requests, in [0, 1].

        Raises:
            ModelRefusedError: as in `activate` without `force`.
        """
        async with self._lock:
            engine = await self._engine(reference, as_shadow=False)
            with self._stopped_unless_used(engine):
                check_replaces(self.roles.active, engine)
                await self._change(replace(self.roles, canary=Share(engine, share)))

    async def set_shadow(self, reference: str, share: float) -> None:
        """Let a bundle score a share of the requests, in [0, 1], without deciding; its verdicts are only reported.

        Raises:
            ModelRefusedError: the bundle is missing or unsound.
        """
        async with self._lock:
            engine = await self._engine(reference, as_shadow=True)
            with self._stopped_unless_used(engine):
                await self._change(replace(self.roles, shadow=Share(engine, share)))

    async def end_canary(self) -> None:
        """Take the canary's role from its bundle, if there is one: the active bundle decides on all requests."""
        async with self._lock:
            await self._change(replace(self.roles, canary=None))

    async def end_shadow(self) -> None:
        """Take the shadow's role from its bundle, if there is one."""
        async with self._lock:
            await self._change(replace(self.roles, shadow=None))

    async def close(self) -> None:
        """Finish the accepted requests, then stop all engines and their threads."""
        await self._failover.close()
        await self._shadows.close()
        async with self._lock:
            engines = self.roles.engines()
            await asyncio.gather(*(engine.retire() for engine in engines), *self._retiring)
        self._source.close()

    async def _engine(self, reference: str, *, as_shadow: bool) -> Engine:
        """An engine for this bundle: a loaded one if it has the same name and content, else a new one."""
        if not self._source.has_store:
            raise ModelRefusedError(
                "there is no store to take a bundle from: set LIVENESS_MODELS_URL", file="LIVENESS_MODELS_URL"
            )
        with _refused():
            digest = await asyncio.to_thread(self._source.digest, reference)
            shadow = self.roles.shadow.engine if self.roles.shadow is not None else None
            for engine in self.roles.engines():
                same = engine.reference == reference and engine.manifest.manifest_sha256 == digest
                if same and (engine is shadow) == as_shadow and engine not in self._failover.faults:
                    return engine
            model = await asyncio.to_thread(self._source.load, reference)
        return self._source.start(reference, model, as_shadow=as_shadow)

    @contextmanager
    def _stopped_unless_used(self, engine: Engine) -> Iterator[None]:
        """Stop the engine when the context ends, unless it has a role then: giving it the role may have failed."""
        try:
            yield
        finally:
            if engine not in self.roles.engines():
                self._retire(engine)

    async def _change(self, roles: Roles) -> None:
        try:
            await asyncio.to_thread(self._state.write, roles.assignment())
        except RoleStateError as error:
            file, reason = "the file of roles", str(error)
            raise ModelRefusedError(f"{file}: {reason}", file=file, reason=reason) from error
        self._set(roles)

    def _set(self, roles: Roles) -> None:
        gone = self.roles.engines() - roles.engines()
        self.roles = roles
        for engine in roles.engines():
            engine.on_failure = self._failover.suspect
        publish_roles(self._metrics, roles)
        for engine in gone:
            self._retire(engine)

    async def _replace(self, failed: Engine, model: Model) -> None:
        """Give the roles of an engine whose provider failed to a new engine of the same bundle."""
        async with self._lock:
            if failed not in self.roles.engines():
                return
            as_shadow = ("shadow", failed) in self.roles.by_role()
            self._set(self.roles.with_engine(failed, self._source.start(failed.reference, model, as_shadow=as_shadow)))

    def _retire(self, engine: Engine) -> None:
        """Stop an engine once no request uses it."""
        task = asyncio.create_task(engine.retire())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


@contextmanager
def _refused() -> Iterator[None]:
    """Turn a bundle's fault into a refusal (409, not 503): only the change fails, the loaded bundles go on."""
    try:
        yield
    except ModelUnavailableError as error:
        raise ModelRefusedError(error.detail, file=error.file, reason=error.reason) from error
