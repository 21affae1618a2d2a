"""What happens when an execution provider fails while the service runs: a GPU is lost, or its memory is full.

A batch of which nothing could be scored is a suspicion, no more: the uploads may be at fault. So the golden cases are
scored again on the same session. Where they fail, the bundle is loaded anew on the next provider and verified as at
start, or the service is not ready. No request is scored on a session that has not reproduced the golden scores.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

import numpy as np
import structlog

from liveness_core.bundle import BundleError, verify_again
from liveness_core.runtime import NEXT_PROVIDER, Provider
from liveness_service.errors import ModelUnavailableError
from liveness_service.observability.metrics import Metrics
from liveness_service.registry.engine import Engine
from liveness_service.scoring.model import Model

log = structlog.get_logger(__name__)

OnFailure = Literal["fallback", "unready"]
FIRST_RECHECK_S = 1.0
"""Seconds after which a failed session is tried again, if there is no provider to go on with. Each pause is twice as
long as the last one: what failed for a moment is soon back."""
RECHECK_S = 5.0
"""The longest of these pauses. A check costs a fraction of a second, a minute without answers costs users."""


class Failover:
    """Judges suspicious engines, and replaces those whose provider has failed."""

    def __init__(
        self,
        on_failure: OnFailure,
        metrics: Metrics,
        load: Callable[[Engine, Provider], Model],
        replace: Callable[[Engine, Model], Awaitable[None]],
    ) -> None:
        """Prepare; nothing is judged yet.

        Args:
            on_failure: `fallback` goes on with the next provider, `unready` does not.
            metrics: count failures.
            load: loads and verifies the engine's bundle on another provider; called in a thread, raises
                `ModelUnavailableError`.
            replace: gives the engine's roles to a new engine with this model.
        """
        self._on_failure = on_failure
        self._metrics = metrics
        self._load = load
        self._replace = replace
        self.faults: dict[Engine, ModelUnavailableError] = {}
        """Why engines must not score, by the engine; those that may are not in it."""
        self._judging: dict[Engine, asyncio.Task[None]] = {}

    def suspect(self, engine: Engine) -> None:
        """Judge an engine of which a whole batch failed, unless it is being judged already."""
        if engine in self._judging:
            return
        task = asyncio.create_task(self._judge(engine), name="failover")
        self._judging[engine] = task
        task.add_done_callback(lambda _task: self._judging.pop(engine, None))

    async def close(self) -> None:
        """Stop judging."""
        tasks = [*self._judging.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _judge(self, engine: Engine) -> None:
        fault = await asyncio.to_thread(_fault_of, engine.model)
        if fault is None:
            return
        failed = engine.model.bundle.scorer.provider
        following = NEXT_PROVIDER.get(failed) if self._on_failure == "fallback" else None
        self.faults[engine] = _unavailable(failed, fault)
        if following is not None:
            try:
                model = await asyncio.to_thread(self._load, engine, following)
            except ModelUnavailableError as error:
                fault = f"{fault}; nor is it replaced: {error.detail}"
            else:
                self._note(failed, fault, following)
                await self._replace(engine, model)
                del self.faults[engine]
                return
        self._note(failed, fault, "none")
        pause_s = min(FIRST_RECHECK_S, RECHECK_S)
        while fault is not None:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RECHECK_S)
            fault = await asyncio.to_thread(_fault_of, engine.model)
        log.warning("provider_recovered", provider=failed)
        del self.faults[engine]

    def _note(self, failed: str, fault: str, following: str) -> None:
        log.warning("provider_failed", provider=failed, reason=fault, goes_on_with=following)
        self._metrics.provider_failures.labels(failed, following).inc()


def _fault_of(model: Model) -> str | None:
    """Why a model does not work any more; None if it finds no fault in it."""
    try:
        verify_again(model.bundle)
        model.detector.detect(np.zeros((480, 640, 3), np.uint8))
    except BundleError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 (a lost device raises whatever its library likes)
        return f"{type(error).__name__}: {error}"
    return None


def _unavailable(provider: str, fault: str) -> ModelUnavailableError:
    return ModelUnavailableError("execution provider", f"{provider} has failed ({fault}): see the service's log")
