"""Several bundles side by side, and the changes of their roles.

A change loads, verifies and warms up first; then one assignment in the event loop makes it. A request keeps the engine
it began with, and an engine is stopped once nobody uses it: none is dropped, and none sees a bundle half loaded.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import structlog

from liveness_core.bundle import BundleError
from liveness_service.errors import ModelRefusedError, ModelUnavailableError, NoPreviousModelError
from liveness_service.registry.assignment import Assignment, RoleStateError
from liveness_service.registry.engine import Engine
from liveness_service.registry.roles import Roles, Share, falls_into
from liveness_service.registry.store import Available, BundleStore
from liveness_service.scoring.model import Model, ModelFault

log = structlog.get_logger(__name__)

Load = Callable[[str | None], Model | ModelFault]
Start = Callable[[str | None, Model, bool], Engine]
"""Reference, model, and whether it is for a shadow."""
Keep = Callable[[Assignment], None]


class RoleKeeper:
    """Holds the roles and changes them, one change at a time."""

    def __init__(
        self, store: BundleStore | None, load: Load, start: Start, keep: Keep, changed: Callable[[Roles], None]
    ) -> None:
        """Nobody has a role yet.

        Args:
            store: None where there is none: roles then cannot be changed.
            load: loads, verifies and warms up; called in a thread.
            start: makes an engine of it.
            keep: keeps the roles for the next start, before they change; called in a thread.
            changed: told the new roles.
        """
        self.roles = Roles()
        self._store = store
        self._load_model = load
        self._start = start
        self._keep = keep
        self._changed = changed
        self._lock = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()

    async def begin(self, wanted: Assignment) -> ModelFault | None:
        """Load what is to begin with. Without the active bundle there is nothing; without the others there is less."""
        loaded = await asyncio.to_thread(self._load_model, wanted.active)
        if isinstance(loaded, ModelFault):
            return loaded
        roles = Roles(active=self._start(wanted.active, loaded, False))
        self._set(roles)
        for role, reference, share in (
            ("canary", wanted.canary, wanted.canary_share),
            ("shadow", wanted.shadow, wanted.shadow_share),
        ):
            if reference is None:
                continue
            try:
                engine = await self._engine(reference, shadow=role == "shadow")
                with self._stopped_unless_used(engine):
                    if role == "canary":
                        self._check_replaces(engine, force=False)
                    given = Share(engine, share)
                    self._set(
                        replace(self.roles, shadow=given) if role == "shadow" else replace(self.roles, canary=given)
                    )
            except ModelRefusedError as error:
                log.error("role_not_filled", role=role, model=reference, reason=error.detail)
        return None

    def choose(self, request_id: str) -> Engine:
        """Who decides on this request.

        Raises:
            ModelUnavailableError: nobody.
        """
        canary = self.roles.canary
        if canary is not None and falls_into(canary.share, request_id, "canary"):
            return canary.engine
        return self.active()

    def active(self) -> Engine:
        """Who decides on the rest.

        Raises:
            ModelUnavailableError: nobody.
        """
        if self.roles.active is None:
            raise ModelUnavailableError("model: not loaded yet", file="model", reason="not loaded yet")
        return self.roles.active

    def role_of(self, engine: Engine) -> str:
        """The role in which it decided; one that was replaced meanwhile did so as the active one."""
        canary = self.roles.canary
        return "canary" if canary is not None and canary.engine is engine else "active"

    def looks_on(self, request_id: str) -> Engine | None:
        """The shadow, where this request belongs to its share."""
        shadow = self.roles.shadow
        return shadow.engine if shadow is not None and falls_into(shadow.share, request_id, "shadow") else None

    async def available(self) -> list[Available]:
        """What is in the store; empty without one.

        Raises:
            ModelRefusedError: it cannot be read.
        """
        if self._store is None:
            return []
        try:
            return await asyncio.to_thread(self._store.available)
        except BundleError as error:
            raise _refused(error.file, error.reason) from error

    async def activate(self, reference: str, *, force: bool = False) -> None:
        """Let this bundle decide; a canary of the same bundle ends, as it has become the rule.

        Raises:
            ModelRefusedError: it is not there, not sound, or does not answer what the active one does.
        """
        async with self._lock:
            roles = self.roles
            engine = await self._engine(reference, shadow=False)
            with self._stopped_unless_used(engine):
                self._check_replaces(engine, force=force)
                canary = roles.canary
                if canary is not None and canary.engine.reference == reference:
                    canary = None
                # What is active already does not become its own predecessor: a roll-back would lead nowhere.
                previous = roles.previous if engine is roles.active else roles.active
                await self._change(replace(roles, active=engine, previous=previous, canary=canary))

    async def roll_back(self) -> None:
        """Let the previous bundle decide again; the two change places.

        Raises:
            NoPreviousModelError: nothing was active before.
        """
        async with self._lock:
            roles = self.roles
            if roles.previous is None:
                raise NoPreviousModelError(
                    "no bundle was active before this one in this process: activate one by its name"
                )
            await self._change(replace(roles, active=roles.previous, previous=roles.active))

    async def set_canary(self, reference: str, share: float) -> None:
        """Let this bundle decide on a share of the requests.

        Raises:
            ModelRefusedError: as `activate`.
        """
        async with self._lock:
            engine = await self._engine(reference, shadow=False)
            with self._stopped_unless_used(engine):
                self._check_replaces(engine, force=False)
                await self._change(replace(self.roles, canary=Share(engine, share)))

    async def set_shadow(self, reference: str, share: float) -> None:
        """Let this bundle look on at a share of the requests.

        Raises:
            ModelRefusedError: it is not there or not sound.
        """
        async with self._lock:
            engine = await self._engine(reference, shadow=True)
            with self._stopped_unless_used(engine):
                await self._change(replace(self.roles, shadow=Share(engine, share)))

    async def end_canary(self) -> None:
        """All requests to the active bundle."""
        async with self._lock:
            await self._change(replace(self.roles, canary=None))

    async def end_shadow(self) -> None:
        """Nobody looks on."""
        async with self._lock:
            await self._change(replace(self.roles, shadow=None))

    async def close(self) -> None:
        """Finish what was accepted, then stop."""
        async with self._lock:
            engines = self.roles.engines()
            await asyncio.gather(*(engine.retire() for engine in engines), *self._retiring)

    async def _engine(self, reference: str, *, shadow: bool) -> Engine:
        """A loaded engine: one that is there already, of the very same content, or a new one."""
        if self._store is None:
            raise ModelRefusedError(
                "there is no store to take a bundle from: set LIVENESS_MODELS_URL", file="LIVENESS_MODELS_URL"
            )
        try:
            digest = (await asyncio.to_thread(self._store.manifest, reference)).manifest_sha256
        except BundleError as error:
            raise _refused(error.file, error.reason) from error
        looking_on = self.roles.shadow.engine if self.roles.shadow is not None else None
        for engine in self.roles.engines():
            if (
                engine.reference == reference
                and engine.manifest.manifest_sha256 == digest
                and (engine is looking_on) == shadow
            ):
                return engine
        loaded = await asyncio.to_thread(self._load_model, reference)
        if isinstance(loaded, ModelFault):
            raise _refused(loaded.file, loaded.reason)
        return self._start(reference, loaded, shadow)

    @contextmanager
    def _stopped_unless_used(self, engine: Engine) -> Iterator[None]:
        """Around giving it a role: where that fails, a newly loaded engine is stopped again."""
        try:
            yield
        finally:
            if engine not in self.roles.engines():
                self._retire(engine)

    def _check_replaces(self, engine: Engine, *, force: bool) -> None:
        """A request that is answered today must be answered tomorrow: no operating point may go unnoticed."""
        active = self.roles.active
        if force or active is None:
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

    async def _change(self, roles: Roles) -> None:
        try:
            await asyncio.to_thread(self._keep, roles.assignment())
        except RoleStateError as error:
            raise _refused("the file of roles", str(error)) from error
        self._set(roles)

    def _set(self, roles: Roles) -> None:
        gone = self.roles.engines() - roles.engines()
        self.roles = roles
        self._changed(roles)
        for engine in gone:
            self._retire(engine)

    def _retire(self, engine: Engine) -> None:
        """Stop it once nobody uses it."""
        task = asyncio.create_task(engine.retire())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


def _refused(file: str, reason: str) -> ModelRefusedError:
    return ModelRefusedError(f"{file}: {reason}", file=file, reason=reason)
