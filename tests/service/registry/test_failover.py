"""An execution provider fails while the service runs; a stub stands for the GPU, everything else is real."""

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest
import structlog

from liveness_core.runtime import NetworkError
from liveness_core.scoring import Scorer
from liveness_service.errors import ModelUnavailableError, ScoringFailedError
from liveness_service.observability.metrics import Metrics
from liveness_service.registry import failover
from liveness_service.registry.assignment import Assignment, AssignmentFile
from liveness_service.registry.registry import ModelRegistry
from liveness_service.registry.shadow import ShadowRunner
from liveness_service.results import Verdict
from liveness_service.submission import Endpoint, ScoreOptions
from support.fakes import renamed
from support.pictures import encoded, head_and_shoulders
from support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

PHOTO = encoded(head_and_shoulders(), "PNG")


class OnAGpu:
    """A session that runs on a GPU which can be lost, be too small for a batch, or compute nonsense."""

    provider = "cuda"

    def __init__(self, session):
        self._session = session
        self.inputs, self.outputs = session.inputs, session.outputs
        self.lost = False
        self.wrong = 0.0
        self.most = 100
        self.runs = 0

    def run(self, feeds, outputs):
        self.runs += 1
        if self.lost:
            raise NetworkError("ONNX Runtime failed: CUDA failure 700: an illegal memory access was encountered")
        if len(next(iter(feeds.values()))) > self.most:
            raise NetworkError("ONNX Runtime failed: Failed to allocate memory for requested buffer")
        return [value + np.float32(self.wrong) for value in self._session.run(feeds, outputs)]


@pytest.fixture
def gpu(source):
    """The bundle `first` runs on this GPU, unless it is loaded anew."""
    sound = source.bundles["first"]
    session = OnAGpu(sound.scorer._encoder)
    scorer = Scorer(session, sound.scorer._classifier, sound.manifest.preprocess, sound.manifest.temperature)
    source.bundles["first"] = replace(sound, scorer=scorer)
    session.replaced_by = sound
    return session


@pytest.fixture
async def begun(source, gpu, monkeypatch):
    monkeypatch.setattr(failover, "RECHECK_S", 0.02)
    made = []

    async def begin(on_failure="fallback", then="sound", **roles):
        metrics = Metrics()
        state = AssignmentFile(None, Assignment(**{"active": "first"} | roles))
        registry = ModelRegistry(source, state, metrics, ShadowRunner(metrics), on_failure)
        registry.metrics = metrics
        made.append(registry)
        await registry.begin()
        if then == "sound":
            source.bundles["first"] = gpu.replaced_by
        elif then == "nothing":
            del source.bundles["first"]
        return registry

    yield begin
    for registry in made:
        await registry.close()


async def score(registry):
    return await registry.choose("any").pipeline(Endpoint.PHOTO).score(PHOTO, ScoreOptions())


async def settled(registry):
    """Wait until no engine is being judged."""
    await until(lambda: not registry._failover._judging)


def providers(registry):
    found = registry.metrics.registry.collect()
    samples = next(family for family in found if family.name == "liveness_model_info").samples
    return {sample.labels["role"]: sample.labels["provider"] for sample in samples}


def failures(registry, goes_on_with):
    labels = {"provider": "cuda", "goes_on_with": goes_on_with}
    return registry.metrics.registry.get_sample_value("liveness_provider_failures_total", labels)


async def test_a_lost_gpu_is_replaced_by_the_cpu(begun, gpu, source):
    registry = await begun()
    assert (await score(registry)).verdict is Verdict.LIVE
    assert providers(registry) == {"active": "cuda"}
    gpu.lost = True
    with structlog.testing.capture_logs() as lines:
        with pytest.raises(ScoringFailedError):
            await score(registry)
        await settled(registry)
    assert registry.fault is None
    assert (await score(registry)).verdict is Verdict.LIVE
    assert providers(registry) == {"active": "cpu"}
    assert source.providers[-1] == "cpu"
    assert failures(registry, "cpu") == 1
    [line] = [line for line in lines if line["event"] == "provider_failed"]
    assert (line["log_level"], line["provider"], line["goes_on_with"]) == ("warning", "cuda", "cpu")
    assert "CUDA failure 700" in line["reason"]


async def test_while_it_is_replaced_nothing_is_scored(begun, gpu, source, monkeypatch):
    registry = await begun()
    gpu.lost = True
    may_load, load = threading.Event(), source.load
    monkeypatch.setattr(source, "load", lambda *arguments: may_load.wait(20) and load(*arguments))
    with pytest.raises(ScoringFailedError):
        await score(registry)
    await until(lambda: registry.fault is not None)
    with pytest.raises(ModelUnavailableError, match="execution provider: cuda has failed"):
        registry.choose("any")
    may_load.set()
    await settled(registry)
    assert (await score(registry)).verdict is Verdict.LIVE


async def test_a_gpu_that_computes_nonsense_is_no_better_than_a_lost_one(begun, gpu):
    registry = await begun()
    gpu.wrong = float("nan")
    with pytest.raises(ScoringFailedError):
        await score(registry)
    await settled(registry)
    assert providers(registry) == {"active": "cpu"}


async def test_a_replacement_is_verified_before_it_scores(begun, gpu, source):
    registry = await begun(then="nothing")
    gpu.lost = True
    with pytest.raises(ScoringFailedError):
        await score(registry)
    await until(lambda: failures(registry, "none"))
    assert registry.fault.file == "execution provider"
    gpu.lost = False  # the driver was reset
    await until(lambda: registry.fault is None)
    assert (await score(registry)).verdict is Verdict.LIVE
    assert providers(registry) == {"active": "cuda"}


async def test_unready_waits_until_the_gpu_gives_the_golden_scores_again(begun, gpu, source):
    registry = await begun("unready")
    gpu.lost = True
    with pytest.raises(ScoringFailedError):
        await score(registry)
    await until(lambda: failures(registry, "none"))
    for state in ({"lost": True, "wrong": 0.0}, {"lost": False, "wrong": 1.0}):
        gpu.lost, gpu.wrong = state["lost"], state["wrong"]
        runs = gpu.runs
        await until(lambda runs=runs: gpu.runs > runs + 1)
        with pytest.raises(ModelUnavailableError):
            registry.active()
    gpu.wrong = 0.0
    await until(lambda: registry.fault is None)
    assert (await score(registry)).verdict is Verdict.LIVE
    assert source.providers == [None]


async def test_a_batch_that_is_too_large_for_the_gpu_is_split_and_nothing_is_replaced(begun, gpu):
    registry = await begun()
    gpu.most = 4
    batcher = registry.active()._batcher
    submitted = [batcher.submit([np.full((224, 224, 3), 100, np.uint8)]) for _ in range(8)]
    assert len({scored.results[0].score for scored in await asyncio.gather(*submitted)}) == 1
    await settled(registry)
    assert providers(registry) == {"active": "cuda"}


async def test_an_upload_that_the_model_cannot_score_replaces_nothing(begun, gpu, source):
    registry = await begun()
    with pytest.raises(ScoringFailedError):
        await registry.active()._batcher.submit([np.zeros((5, 5, 3), np.uint8)])  # no crop of this bundle
    await settled(registry)
    assert registry.fault is None
    assert providers(registry) == {"active": "cuda"}
    assert source.loaded == ["first"]


async def test_a_failing_canary_leaves_its_share_to_the_active_bundle(begun, gpu, source):
    source.bundles["sound"] = renamed(gpu.replaced_by, version="sound", manifest_sha256="9" * 64)
    registry = await begun("unready", active="sound", canary="first", canary_share=1.0)
    gpu.lost = True
    with pytest.raises(ScoringFailedError):
        await score(registry)
    await until(lambda: failures(registry, "none"))
    assert registry.fault is None
    assert registry.choose("any") is registry.active()
    assert (await score(registry)).verdict is Verdict.LIVE


async def test_every_role_of_the_failed_engine_goes_to_the_new_one(begun, gpu):
    registry = await begun(canary="first", canary_share=0.5)
    assert registry.roles.canary.engine is registry.roles.active
    gpu.lost = True
    with pytest.raises(ScoringFailedError):
        await score(registry)
    await settled(registry)
    assert registry.roles.canary.engine is registry.roles.active
    assert registry.roles.canary.share == 0.5
    assert providers(registry) == {"active": "cpu", "canary": "cpu"}


async def test_a_detector_that_fails_is_judged_too(begun, gpu):
    registry = await begun()
    engine = registry.active()

    def lost(_picture, *, least_share=0.0):
        raise NetworkError("ONNX Runtime failed: CUDA failure 700")

    engine.model.detector.detect = lost
    with pytest.raises(ScoringFailedError, match="face detector"):
        await score(registry)
    await settled(registry)
    assert registry.active() is not engine
    assert (await score(registry)).verdict is Verdict.LIVE


async def test_an_encoder_that_hangs_turns_readiness_off_until_it_answers(begun, gpu, monkeypatch):
    registry = await begun()
    engine = registry.active()
    monkeypatch.setattr(type(engine._batcher), "busy_s", property(lambda _self: 10.1))
    with pytest.raises(ModelUnavailableError, match="busy with one batch for 10 s"):
        registry.active()
    monkeypatch.setattr(type(engine._batcher), "busy_s", property(lambda _self: 9.9))
    assert registry.active() is engine
