import asyncio
import threading

import pytest

from liveness_service.errors import (
    DeadlineExceededError,
    InvalidParameterError,
    ModelUnavailableError,
    OverloadedError,
    TooManyAtOnceError,
)
from liveness_service.observability.metrics import Metrics
from liveness_service.results import Verdict
from liveness_service.scoring.preparation import PhotoPreparation
from liveness_service.service import LivenessService
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, Submission
from support.pictures import astronaut, encoded

pytestmark = pytest.mark.anyio


def photo(content):
    return Submission(Endpoint.PHOTO, content)


@pytest.fixture
async def started(live_bundle):
    """Start services that are closed in the end."""
    services = []

    async def start(**settings):
        service = LivenessService(Settings(**{"bundle_path": live_bundle, **settings}), Metrics())
        services.append(service)
        await service.start()
        return service

    yield start
    for service in services:
        await service.close()


async def test_it_scores_once_started(started):
    service = await started()
    assert service.fault is None
    assert (await service.score(photo(encoded(astronaut())))).verdict is Verdict.LIVE


async def test_before_its_start_it_refuses_and_says_why(live_bundle):
    service = LivenessService(Settings(bundle_path=live_bundle), Metrics())
    assert service.fault is not None
    with pytest.raises(ModelUnavailableError, match="not loaded yet"):
        await service.score(photo(encoded(astronaut())))
    await service.close()


async def test_with_a_fault_it_runs_and_every_way_in_is_barred(started, fault):
    service = await started(**fault.settings)
    assert service.fault is not None
    assert service.fault.file == fault.file
    with pytest.raises(ModelUnavailableError) as raised:
        await service.score(photo(encoded(astronaut())))
    assert raised.value.members == {"file": fault.file, "reason": service.fault.reason}
    with pytest.raises(ModelUnavailableError):
        service.model()
    with pytest.raises(ModelUnavailableError), service.admit(Endpoint.PHOTO):
        pass


async def test_places_are_limited_counted_and_given_back(started):
    service = await started(max_inflight=2)
    with service.admit(Endpoint.PHOTO):
        with service.admit(Endpoint.PHOTO):
            assert service.metrics.registry.get_sample_value("liveness_inflight_requests") == 2
            with pytest.raises(OverloadedError, match="LIVENESS_MAX_INFLIGHT"), service.admit(Endpoint.PHOTO):
                pass
            assert service.metrics.registry.get_sample_value("liveness_inflight_requests") == 2
        with pytest.raises(RuntimeError), service.admit(Endpoint.PHOTO):
            raise RuntimeError("a request that fails gives its place back")
        with service.admit(Endpoint.PHOTO):
            pass
    assert service.metrics.registry.get_sample_value("liveness_inflight_requests") == 0


async def test_one_caller_cannot_hold_the_places_of_the_others(started):
    service = await started(max_inflight=4, max_inflight_per_key=2)
    with service.admit(Endpoint.PHOTO, caller="greedy"), service.admit(Endpoint.PHOTO, caller="greedy"):
        message = "2 requests of greedy .*LIVENESS_MAX_INFLIGHT_PER_KEY"
        with pytest.raises(TooManyAtOnceError, match=message), service.admit(Endpoint.PHOTO, caller="greedy"):
            pass
        assert service.metrics.registry.get_sample_value("liveness_inflight_requests") == 2
        others = [service.admit(Endpoint.PHOTO, caller="other") for _ in range(2)]
        with others[0], others[1], pytest.raises(OverloadedError), service.admit(Endpoint.PHOTO, caller="third"):
            pass
    with service.admit(Endpoint.PHOTO, caller="greedy"), service.admit(Endpoint.PHOTO, caller="greedy"):
        pass
    assert len(service._callers) == 0


async def test_clips_have_a_limit_for_each_caller_of_their_own(started):
    service = await started(max_inflight_clips=2, max_inflight_clips_per_key=1)
    with service.admit(Endpoint.CLIP, caller="greedy"):
        message = "1 clips of greedy .*LIVENESS_MAX_INFLIGHT_CLIPS_PER_KEY"
        with pytest.raises(TooManyAtOnceError, match=message), service.admit(Endpoint.CLIP, caller="greedy"):
            pass
        with service.admit(Endpoint.PHOTO, caller="greedy"), service.admit(Endpoint.CLIP, caller="other"):
            pass
    assert len(service._clip_callers) == 0


async def test_without_a_limit_one_caller_may_hold_every_place(started):
    service = await started(max_inflight=2)
    with service.admit(Endpoint.PHOTO, caller="only"), service.admit(Endpoint.PHOTO, caller="only"):
        pass


async def test_past_the_deadline_there_is_no_answer(started):
    service = await started(deadline_ms=10)  # finding a face takes longer
    with pytest.raises(DeadlineExceededError, match=r"within 0\.01 s"):
        await service.score(photo(encoded(astronaut(), "PNG")))


async def test_what_is_past_its_deadline_before_it_began_is_dropped(started, monkeypatch):
    service = await started(deadline_ms=1000, preparation_threads=1)
    begun, go_on = [], threading.Event()
    prepare = PhotoPreparation.prepare

    def held(self, content, *others):
        begun.append(content)
        assert go_on.wait(60)
        return prepare(self, content, *others)

    monkeypatch.setattr(PhotoPreparation, "prepare", held)
    content = encoded(astronaut())
    # The only thread has the first one until all are past their deadline.
    results = await asyncio.gather(*(service.score(photo(content)) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [DeadlineExceededError] * 5
    go_on.set()
    assert (await service.score(photo(content))).verdict is Verdict.LIVE
    assert len(begun) == 2


async def test_requests_that_overlap_share_batches_and_keep_their_own_answers(started, graded_bundle):
    service = await started(bundle_path=graded_bundle)
    pictures = [encoded((astronaut() * share).astype("uint8"), "PNG") for share in (1.0, 0.85, 0.7)] * 4
    alone = [(await service.score(photo(content))).score for content in pictures[:3]]
    assert len(set(alone)) == 3
    together = await asyncio.gather(*(service.score(photo(content)) for content in pictures))
    assert [result.score for result in together] == pytest.approx(alone * 4, abs=1e-6)


async def test_an_operating_point_is_checked_by_name(started):
    service = await started()
    with service.admit(Endpoint.PHOTO) as engine:
        assert engine.pipeline(Endpoint.PHOTO).operating_point(None).name == "eer"
        assert engine.pipeline(Endpoint.PHOTO).operating_point("strict").name == "strict"
        with pytest.raises(InvalidParameterError, match="only eer, strict"):
            engine.pipeline(Endpoint.PHOTO).operating_point("lax")
