import asyncio

import pytest
import structlog

from liveness_service.errors import InvalidParameterError
from liveness_service.observability.metrics import Metrics
from liveness_service.registry.shadow import ShadowRunner
from liveness_service.results import ImageResult, Verdict
from liveness_service.submission import Endpoint, ScoreOptions, Submission
from support.pictures import encoded, head_and_shoulders

pytestmark = pytest.mark.anyio

PHOTO = encoded(head_and_shoulders(), "PNG")


@pytest.fixture
async def runner():
    made = ShadowRunner(Metrics())
    yield made
    await made.close()


@pytest.fixture
def engine(source):
    """Start the engine of a bundle as a shadow."""

    def start(reference="first"):
        return source.start(reference, source.load(reference), as_shadow=True)

    return start


def answered(verdict=Verdict.SPOOF, score=0.1):
    return ImageResult(verdict, (), score, 0.5, "eer", (), 512, 512)


def photo(**options):
    return Submission(Endpoint.PHOTO, PHOTO, ScoreOptions(**options), request_id="one")


def value(runner, sample, /, **labels):
    return runner._metrics.registry.get_sample_value(sample, labels) or 0


async def finished(runner):
    await asyncio.gather(*runner._tasks)
    await asyncio.sleep(0)


async def test_it_reports_whether_the_two_agree(runner, engine):
    runner.offer(engine(), photo(), answered())
    await finished(runner)
    agreement = {"name": "tiny", "version": "1", "verdict": "spoof", "shadow_verdict": "live"}
    assert value(runner, "liveness_shadow_agreement_total", **agreement) == 1
    labels = {"name": "tiny", "version": "1", "role": "shadow", "endpoint": "/v1/liveness"}
    assert value(runner, "liveness_model_verdicts_total", verdict="live", **labels) == 1
    assert value(runner, "liveness_verdicts_total", endpoint="/v1/liveness", verdict="live") == 0


async def test_it_draws_no_heat_map(runner, engine, monkeypatch):
    shadow = engine()
    asked = []
    pipeline = shadow.pipeline(Endpoint.PHOTO)

    async def score(content, options):
        asked.append(options)
        return answered()

    monkeypatch.setattr(pipeline, "score", score)
    runner.offer(shadow, photo(explain=True, operating_point="strict"), answered())
    await finished(runner)
    assert asked == [ScoreOptions("strict", explain=False)]


async def test_more_uploads_than_may_wait_are_skipped_and_counted(runner, engine):
    shadow = engine()
    for _ in range(6):
        runner.offer(shadow, photo(), answered())
    await finished(runner)
    assert value(runner, "liveness_shadow_skipped_total", reason="busy") == 2
    agreement = {"name": "tiny", "version": "1", "verdict": "spoof", "shadow_verdict": "live"}
    assert value(runner, "liveness_shadow_agreement_total", **agreement) == 4


@pytest.mark.parametrize(
    ("submission", "reason"),
    [
        (Submission(Endpoint.CLIP, b"clip"), "clips_unsupported"),
        (photo(operating_point="lax"), "no_operating_point"),
        (Submission(Endpoint.PHOTO, b"no photo"), "failed"),
    ],
    ids=["clip", "operating point", "unreadable"],
)
async def test_what_it_cannot_score_is_counted_by_its_reason_and_raises_nothing(runner, engine, submission, reason):
    runner.offer(engine(), submission, answered())
    await finished(runner)
    assert value(runner, "liveness_shadow_skipped_total", reason=reason) == 1


async def test_its_engine_is_held_until_it_is_done(runner, engine):
    shadow = engine()
    runner.offer(shadow, photo(), answered())
    retiring = asyncio.create_task(shadow.retire())
    await asyncio.sleep(0)
    assert not retiring.done()
    await finished(runner)
    await asyncio.wait_for(retiring, 5)
    agreement = {"name": "tiny", "version": "1", "verdict": "spoof", "shadow_verdict": "live"}
    assert value(runner, "liveness_shadow_agreement_total", **agreement) == 1


async def test_it_works_outside_of_the_requests_context(runner, engine, monkeypatch):
    shadow = engine()
    seen = []

    async def score(content, options):
        seen.append(structlog.contextvars.get_contextvars())
        raise InvalidParameterError("enough seen")

    monkeypatch.setattr(shadow.pipeline(Endpoint.PHOTO), "score", score)
    with structlog.contextvars.bound_contextvars(request_id="of the request"):
        runner.offer(shadow, photo(), answered())
    await finished(runner)
    assert seen == [{}]


async def test_what_waits_is_dropped_at_the_end(runner, engine):
    shadow = engine()
    for _ in range(3):
        runner.offer(shadow, photo(), answered())
    await runner.close()
    assert not runner._tasks
    await asyncio.wait_for(shadow.retire(), 5)
