"""What plain uploads and those of sessions have in common: read the file, take a slot, score it, record the verdict."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from liveness_service.api.audit import record_verdict
from liveness_service.api.schemas import ClipResponse, LivenessResponse, answer_of
from liveness_service.api.state import request_state
from liveness_service.api.upload import Expected, read_upload
from liveness_service.errors import DeadlineExceededError
from liveness_service.registry.engine import Engine
from liveness_service.results import Result
from liveness_service.service import LivenessService
from liveness_service.sessions.seen import SeenFiles, seen_again
from liveness_service.sessions.sessions import Sessions
from liveness_service.sessions.turn import Turn
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, ScoreOptions, Submission

_T = TypeVar("_T")
Score = Callable[[Coroutine[Any, Any, Result]], Awaitable[Result]]
"""Waits for a result, or for what makes it unwanted."""


def sessions_of(request: Request) -> Sessions:
    """The app's capture sessions."""
    sessions = request.app.state.sessions
    assert isinstance(sessions, Sessions)
    return sessions


async def answer_upload(
    request: Request,
    service: LivenessService,
    endpoint: Endpoint,
    options: ScoreOptions,
    *,
    score: Score,
    turn: Turn | None = None,
) -> LivenessResponse | ClipResponse:
    """Handle an upload, and note its verdict for the log line of the request.

    Args:
        request: the request; its body must not have been read.
        service: scores.
        endpoint: the path whose rules hold for the file.
        options: how it is to be judged.
        score: waits for the result.
        turn: the session's turn that the upload is; None for a plain upload.

    Raises:
        ServiceError: the upload is refused, or cannot be scored or recorded.
        ClientDisconnect: the client went away, and nobody else wants the answer.
    """
    expected = _expected(service.settings, endpoint, turn)
    whole_s = (expected.timeout_ms + service.deadline_ms(endpoint)) / 1000
    try:
        async with asyncio.timeout(whole_s):
            answer = await _answered(request, service, endpoint, expected, options, score, turn)
    except TimeoutError as error:
        raise DeadlineExceededError(f"no answer within {whole_s:g} s of the request's first byte") from error
    request_state(request).outcome = {
        "verdict": answer.verdict.value,
        "reasons": [reason.value for reason in answer.reasons],
        "score": answer.score,
        "operating_point": answer.operating_point,
        "model": answer.model.name,
        "model_version": answer.model.version,
        "faces": len(answer.faces),
        **({} if turn is None else {"session_id": turn.claims.session_id}),
    }
    return answer


async def _answered(
    request: Request,
    service: LivenessService,
    endpoint: Endpoint,
    expected: Expected,
    options: ScoreOptions,
    score: Score,
    turn: Turn | None,
) -> LivenessResponse | ClipResponse:
    state = request_state(request)
    with service.receive(endpoint, state.draw, state.limited_as) as (engine, upload):
        # This refuses an unknown operating point before the file is read.
        engine.pipeline(endpoint).operating_point(options.operating_point)
        if turn is not None:
            turn.arrives()
        content = await read_upload(request, expected, upload)
        with service.admit(endpoint, caller=state.limited_as, engine=engine):
            upload.arrived()
            session_id = "" if turn is None else turn.claims.session_id
            submission = Submission(
                endpoint, content, options, state.request_id, state.caller_name, state.draw, session_id
            )
            if turn is not None:
                turn.looks()
            seen = sessions_of(request).seen
            began = time.perf_counter()
            remembered = await seen.first_time(submission)
            if remembered is None:
                point = engine.pipeline(endpoint).operating_point(options.operating_point)
                result = seen_again(endpoint, point.name, point.threshold, began)
                await record_verdict(request, submission, result, engine.manifest)
                service.metrics.concluded(endpoint, result, state.caller_name)
            else:
                result = await _judged(request, service, engine, submission, score, seen, remembered)
            return answer_of(state.request_id, result, engine.model)


async def _judged(
    request: Request,
    service: LivenessService,
    engine: Engine,
    submission: Submission,
    score: Score,
    seen: SeenFiles,
    remembered: str,
) -> Result:
    """Score a file that is new, and record its verdict; without one, it may be sent again."""
    given = False
    try:
        result = await score(service.score(submission, engine))
        await record_verdict(request, submission, result, engine.manifest)
        given = True
    finally:
        if not given:
            await seen.forget(remembered)
    service.concluded(engine, submission, result)
    return result


def _expected(settings: Settings, endpoint: Endpoint, turn: Turn | None) -> Expected:
    is_clip = endpoint is Endpoint.CLIP
    most = settings.max_clip_bytes if is_clip else settings.max_upload_bytes
    return Expected(
        field="video" if is_clip else "image",
        noun="clip" if is_clip else "image",
        example="clip.mp4" if is_clip else "photo.jpg",
        max_bytes=most if turn is None else min(most, turn.claims.max_bytes),
        limit_setting="LIVENESS_MAX_CLIP_BYTES" if is_clip else "LIVENESS_MAX_UPLOAD_BYTES",
        timeout_ms=settings.clip_upload_timeout_ms if is_clip else settings.upload_timeout_ms,
        min_rate=settings.min_upload_rate,
    )


def until_disconnected(request: Request) -> Score:
    """A way to wait that cancels the work as soon as the client hangs up, since nobody would read the result.

    It raises ClientDisconnect then.
    """

    async def wait(work: Coroutine[Any, Any, _T]) -> _T:
        working = asyncio.create_task(work)
        watching = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientDisconnect
            return working.result()
        finally:
            for task in (working, watching):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    return wait


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
