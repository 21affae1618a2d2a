"""The running service without its web framework: admission, deadlines, start and stop."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import structlog

from liveness_service.access.slots import CallerSlots, Slots, Upload, Uploads
from liveness_service.errors import DeadlineExceededError, ModelUnavailableError, WorkersUnavailableError
from liveness_service.keys import parse_points
from liveness_service.observability.metrics import Metrics
from liveness_service.process import prepare_process
from liveness_service.registry.engine import Engine
from liveness_service.registry.registry import ModelRegistry
from liveness_service.results import Result
from liveness_service.scoring.model import Model
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, Submission
from liveness_service.workers.preparer import Workers

log = structlog.get_logger(__name__)

_UPLOADS_FOR_A_SLOT = 4
"""An upload from a phone takes longer than its scoring, so more of them than slots keep the slots in use."""


def _clips_of_one_key(settings: Settings, keys: int) -> int | None:
    """Most clips in work of one key where no setting says it; None for no limit.

    There are few places and clips hold them long, so a key that always fills them would leave the others nothing but
    503. One place less costs that key little, half of them, as of uploads, would leave cores idle. A single key has
    nobody to leave a place to; nor has an address, which is often that of a proxy.
    """
    return max(1, settings.max_inflight_clips - 1) if keys > 1 else None


class LivenessService:
    """Scores submissions once it is started. Without a verified model it runs, but refuses to score."""

    def __init__(self, settings: Settings, metrics: Metrics, *, scoring_keys: int = 0) -> None:
        """Make the parts; nothing is loaded yet.

        Args:
            settings: the settings.
            metrics: are counted in.
            scoring_keys: how many names of keys may send uploads; 0 where there are no keys.
        """
        self.settings = settings
        self.metrics = metrics
        self.workers = Workers.of(settings, metrics)
        self.registry = ModelRegistry.of(settings, metrics, self.workers)
        self._slots = Slots(settings.max_inflight, "requests", "LIVENESS_MAX_INFLIGHT")
        self._clip_slots = Slots(settings.max_inflight_clips, "clips", "LIVENESS_MAX_INFLIGHT_CLIPS")
        self._callers = CallerSlots(settings.max_inflight_per_key, "requests", "LIVENESS_MAX_INFLIGHT_PER_KEY")
        most_clips = settings.max_inflight_clips_per_key or _clips_of_one_key(settings, scoring_keys)
        self._clip_callers = CallerSlots(most_clips, "clips", "LIVENESS_MAX_INFLIGHT_CLIPS_PER_KEY")
        most = settings.max_uploads or _UPLOADS_FOR_A_SLOT * settings.max_inflight
        self._points = parse_points(settings.key_operating_points or "")
        self._uploads = Uploads(most, settings.max_uploads_per_key, settings.max_held_bytes)
        self.stopping = False
        """Whether the service was told to stop: it is not ready any more, and answers what still comes."""
        metrics.uploads.set_function(lambda: self._uploads.arriving)
        metrics.held_bytes.set_function(lambda: self._uploads.held_bytes)
        metrics.inflight_limit.set(settings.max_inflight)
        metrics.inflight.set_function(lambda: self._slots.taken)

    @property
    def fault(self) -> ModelUnavailableError | None:
        """Why no model is loaded; None while one is."""
        return self.registry.fault

    async def start(self) -> None:
        """Load the models; an event loop must be running. A model's fault is not raised, `fault` then has it."""
        prepare_process()
        if self.workers is not None:
            self.workers.start()  # they get ready while the models are loaded
        await self.registry.begin()
        self._report_missing_points()
        if self.workers is not None:
            await self.workers.until_ready()

    async def close(self) -> None:
        """Finish the accepted requests, then stop."""
        await self.registry.close()
        if self.workers is not None:
            await self.workers.close()

    def check_workers(self) -> None:
        """Check that uploads are prepared.

        Raises:
            WorkersUnavailableError: workers cannot be started, or none answers while uploads wait.
        """
        if self.workers is not None and (fault := self.workers.fault) is not None:
            raise WorkersUnavailableError(fault)

    def model(self) -> Model:
        """The active model, which decides on all requests outside a canary's share.

        Raises:
            ModelUnavailableError: no model is loaded; the error names the file at fault and the reason.
        """
        return self.registry.active().model

    @contextmanager
    def receive(self, endpoint: Endpoint, draw: str = "", caller: str = "") -> Iterator[tuple[Engine, Upload]]:
        """Accept one upload before it is read, and give the engine that is to decide on it.

        It holds a place among the uploads until `Upload.arrived`; `admit` gives it a slot then. While no slot is free,
        uploads are refused here, so that they need not be read in vain.

        Args:
            endpoint: where the upload goes.
            draw: random text that decides whether the request belongs to the canary's share.
            caller: the name of the key or, where there are no keys, the address by which callers are told apart.

        Raises:
            ModelUnavailableError: no model is loaded.
            TooManyAtOnceError: the caller holds as many slots, or places of uploads, as one caller may hold.
            OverloadedError: no slot, or no place for an upload, is free.
        """
        self.registry.active()
        self._callers.check(caller)
        self._slots.check()
        if endpoint is Endpoint.CLIP:
            self._clip_callers.check(caller)
            self._clip_slots.check()
        with self._uploads.take(caller) as upload:
            engine = self.registry.choose(draw)
            with engine.in_use():
                yield engine, upload

    @contextmanager
    def admit(
        self, endpoint: Endpoint, draw: str = "", caller: str = "", engine: Engine | None = None
    ) -> Iterator[Engine]:
        """Accept one request whose upload is here, and give the engine that decides on it.

        The request holds a slot until it is answered; a clip holds one of the clips' slots as well.

        Args:
            endpoint: where the upload goes.
            draw: random text that decides whether the request belongs to the canary's share.
            caller: the name of the key or, where there are no keys, the address by which callers are told apart.
            engine: the engine that `receive` gave; None chooses one.

        Raises:
            ModelUnavailableError: no model is loaded.
            TooManyAtOnceError: the caller holds as many slots as one caller may hold.
            OverloadedError: no slot is free.
        """
        self.registry.active()
        with ExitStack() as held:
            held.enter_context(self._callers.take(caller))
            if endpoint is Endpoint.CLIP:
                held.enter_context(self._clip_callers.take(caller))
            held.enter_context(self._slots.take())
            engine = engine or self.registry.choose(draw)
            held.enter_context(engine.in_use())
            if endpoint is Endpoint.CLIP:
                held.enter_context(self._clip_slots.take())
            yield engine

    async def score(self, submission: Submission, engine: Engine | None = None) -> Result:
        """Score an upload.

        Args:
            submission: the upload and how it is to be judged.
            engine: the engine that `admit` gave; None for the active one.

        Raises:
            DeadlineExceededError: the answer took too long; work that has not begun is dropped.
            ServiceError: the content, a parameter or the model is at fault.
        """
        engine, submission = engine or self.registry.active(), self._pointed(submission)
        is_clip = submission.endpoint is Endpoint.CLIP
        deadline_s = self.deadline_ms(submission.endpoint) / 1000
        with engine.in_use():
            try:
                async with asyncio.timeout(deadline_s):
                    return await engine.pipeline(submission.endpoint).score(submission.content, submission.options)
            except TimeoutError as error:
                otherwise = "the clip very long or large" if is_clip else "the image very large"
                raise DeadlineExceededError(
                    f"no answer within {deadline_s:g} s: the service is busy or {otherwise}; try again later"
                ) from error

    def deadline_ms(self, endpoint: Endpoint) -> int:
        """How long the answer may take after the upload, in milliseconds."""
        return self.settings.clip_deadline_ms if endpoint is Endpoint.CLIP else self.settings.deadline_ms

    def concluded(self, engine: Engine, submission: Submission, result: Result) -> None:
        """Count a verdict in the metrics, and let the shadow, if there is one, score the upload too."""
        self.metrics.concluded(submission.endpoint, result, submission.caller)
        self.metrics.scored(self.registry.role_of(engine), engine.manifest, submission.endpoint, result)
        self.registry.show_shadow(self._pointed(submission), result)

    def _pointed(self, submission: Submission) -> Submission:
        """The submission with the operating point of its caller, where it names none itself."""
        point = self._points.get(submission.caller)
        if point is None or submission.options.operating_point is not None:
            return submission
        return replace(submission, options=replace(submission.options, operating_point=point))

    def _report_missing_points(self) -> None:
        """Log the points of callers that the active bundle does not have: their requests are going to be refused."""
        if self.registry.fault is not None:
            return
        there = self.model().bundle.manifest.operating_points
        for key, point in self._points.items():
            if point not in there:
                log.warning("key_operating_point_missing", key=key, operating_point=point, there=sorted(there))
