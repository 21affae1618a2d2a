import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from liveness_service.errors import ClipsUnsupportedError, OverloadedError
from liveness_service.registry.engine import Engine, Threads
from liveness_service.results import Verdict
from liveness_service.scoring.model import Model
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, ScoreOptions
from support.fakes import FakeDetector, face
from support.pictures import encoded, head_and_shoulders

pytestmark = pytest.mark.anyio

PHOTO = encoded(head_and_shoulders(), "PNG")


@pytest.fixture
async def engine(photo_bundle):
    sizes = []
    with ThreadPoolExecutor(1) as threads:
        made = Engine(
            "one", Model(photo_bundle, FakeDetector([face()])), Settings(), Threads(threads, threads), sizes.append
        )
        made.sizes = sizes
        yield made
        await made.retire()


async def test_it_scores_photos_and_tells_the_size_of_each_batch(engine):
    result = await engine.pipeline(Endpoint.PHOTO).score(PHOTO, ScoreOptions())
    assert result.verdict is Verdict.LIVE
    assert engine.sizes == [1]
    assert engine.queue_depth == 0


async def test_without_a_temporal_head_clips_are_refused_by_name(engine):
    with pytest.raises(ClipsUnsupportedError, match="tiny"):
        engine.pipeline(Endpoint.CLIP).operating_point(None)


async def test_it_is_not_retired_while_somebody_uses_it(engine):
    with engine.in_use():
        with engine.in_use():
            pass
        retiring = asyncio.create_task(engine.retire())
        await asyncio.sleep(0.05)
        assert not retiring.done()
        # What was accepted is still scored.
        assert (await engine.pipeline(Endpoint.PHOTO).score(PHOTO, ScoreOptions())).verdict is Verdict.LIVE
    await asyncio.wait_for(retiring, 5)
    with pytest.raises(OverloadedError, match="stopping"):
        await engine.pipeline(Endpoint.PHOTO).score(PHOTO, ScoreOptions())


async def test_a_user_that_fails_gives_it_back(engine):
    with pytest.raises(RuntimeError), engine.in_use():
        raise RuntimeError
    await asyncio.wait_for(engine.retire(), 5)
