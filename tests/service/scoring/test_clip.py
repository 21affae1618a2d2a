"""A clip's way with a detector that is told where the face is; over HTTP with MTCNN see api/test_liveness_video.py."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from liveness_core.bundle import load_bundle
from liveness_core.types import Box, DetectedFace
from liveness_core.video import VideoLimits
from liveness_service.errors import InvalidParameterError, ScoringFailedError, UnreadableMediaError
from liveness_service.results import Verdict
from liveness_service.scoring.batcher import MicroBatcher
from liveness_service.scoring.clip import ClipPipeline
from liveness_service.scoring.model import Model
from liveness_service.submission import FacePolicy, ScoreOptions
from support.clips import clip, cut_clip, person_clip
from support.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.anyio

LIMITS = VideoLimits(max_seconds=30, max_frames=1800, max_pixels=9_000_000, max_streams=8)


def face_at(x, y, size=60.0):
    """A face about a point, as large as the astronaut's in `person`."""
    half = size / 2
    eyes, mouth = half * 0.45, half * 0.4
    points = (
        (x - eyes, y - half * 0.25),
        (x + eyes, y - half * 0.25),
        (x, y + half * 0.2),
        (x - mouth, y + half * 0.6),
        (x + mouth, y + half * 0.6),
    )
    return DetectedFace(Box(x - half, y - half * 1.25, x + half, y + half * 1.25), points, 0.99)


class SeesOneFace:
    """Finds one face in the middle of what it is shown, or what it is told to find."""

    name = "fake"

    def __init__(self, find=None):
        self.shown = 0
        self._find = find

    def detect(self, picture, *, least_share=0.0):
        self.shown += 1
        height, width = picture.shape[:2]
        return [face_at(width / 2, height / 2)] if self._find is None else self._find(picture)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "clips"
    make_tiny_bundle(path, bias=3, gain=0.5, temporal=True)
    return load_bundle(path)


@pytest.fixture
async def pipeline(bundle):
    """Make pipelines with a detector that finds this; they are stopped in the end."""
    batchers = []
    with ThreadPoolExecutor(1) as threads:

        def make(find=None, used=bundle):
            batchers.append(MicroBatcher(used.scorer, max_batch_size=8))
            batchers[-1].start()
            made = ClipPipeline(Model(used, SeesOneFace(find)), batchers[-1], threads, LIMITS, 0.5)
            made.sizes = []
            batchers[-1]._on_batch = made.sizes.append
            return made

        yield make
        for batcher in batchers:
            await batcher.close()


async def test_eight_frames_share_a_batch_and_the_head_decides(pipeline):
    made = pipeline()
    result = await made.score(person_clip(), ScoreOptions())
    assert (result.verdict, result.reasons, result.frames_used) == (Verdict.LIVE, (), 8)
    assert made.sizes == [8]
    assert [frame.index for frame in result.frames] == sorted(frame.index for frame in result.frames)
    assert result.frame_score == pytest.approx(np.mean([frame.score for frame in result.frames]))
    assert result.face.score == result.score
    assert (result.width, result.height) == (320, 240)


async def test_times_of_the_stages_are_within_the_total(pipeline):
    timings = (await pipeline().score(person_clip(), ScoreOptions())).timings_ms
    stages = [timings.decode, timings.detect, timings.align, timings.queue, timings.infer]
    assert all(stage > 0 for stage in stages)
    assert sum(stages) <= timings.total


async def test_a_refused_clip_is_not_scored_and_costs_no_batch(pipeline):
    made = pipeline(lambda _picture: [])
    result = await made.score(person_clip(), ScoreOptions())
    assert (result.verdict, result.reasons, result.score) == (Verdict.UNDETERMINED, ("no_face",), None)
    assert (result.face, result.frames_used, result.frame_score) == (None, 0, None)
    assert made.sizes == []
    assert (result.timings_ms.queue, result.timings_ms.infer) == (0, 0)


async def test_a_hopeless_clip_is_given_up_after_its_middle_frames(pipeline):
    made = pipeline(lambda _picture: [])
    result = await made.score(person_clip(), ScoreOptions())
    assert [frame.index for frame in result.frames] == [3, 11, 18, 26, 33, 41, 48, 56]
    assert made._model.detector.shown == 8


async def test_the_number_of_looks_is_bounded(pipeline):
    def in_the_first_frame(picture):
        return [] if made._model.detector.shown > 2 else [face_at(picture.shape[1] / 2, picture.shape[0] / 2)]

    made = pipeline(in_the_first_frame)
    result = await made.score(person_clip(), ScoreOptions())
    assert (result.reasons, result.frames_used) == (("too_few_frames", "no_face"), 1)
    # Two for the first frame. Every other look searches a window first, then the whole frame: 7 middle frames, 14 more.
    # The face that was found is looked at up to four times more: whether it stands upright.
    assert made._model.detector.shown <= 2 + 4 + 2 * (7 + 14)


async def test_a_clip_that_is_too_short_is_not_even_searched(pipeline):
    made = pipeline()
    result = await made.score(clip(seconds=0.3), ScoreOptions())
    assert (result.reasons, result.frames) == (("clip_too_short",), ())
    assert made._model.detector.shown == 0


@pytest.mark.parametrize(("frames", "is_searched"), [(20, True), (19, False)])
async def test_a_clip_of_the_least_length_is_searched_and_one_of_a_frame_less_is_not(pipeline, frames, is_searched):
    made = pipeline()
    result = await made.score(clip(seconds=frames / 40, fps=40), ScoreOptions())
    assert ("clip_too_short" in result.reasons) != is_searched
    assert (made._model.detector.shown > 0) == is_searched


async def test_a_crowd_in_every_frame_costs_two_looks_at_those_that_would_be_scored_and_no_more(pipeline):
    made = pipeline(lambda picture: [face_at(10 + 10 * n, 20, size=9) for n in range(30)])
    result = await made.score(person_clip(), ScoreOptions())
    assert result.reasons == ("multiple_faces",)
    assert made._model.detector.shown <= 2 * 8


async def test_a_second_face_refuses_the_clip_unless_the_largest_is_asked_for(pipeline):
    def two(picture):
        height, width = picture.shape[:2]
        return [face_at(width / 3, height / 2), face_at(2 * width / 3, height / 2, 56.0)]

    assert (await pipeline(two).score(person_clip(), ScoreOptions())).reasons == ("multiple_faces",)
    result = await pipeline(two).score(person_clip(), ScoreOptions(faces=FacePolicy.LARGEST))
    assert "multiple_faces" not in result.reasons


async def test_another_face_after_a_cut_refuses_the_clip(pipeline):
    result = await pipeline().score(cut_clip(), ScoreOptions())
    assert (result.verdict, result.reasons, result.score) == (Verdict.UNDETERMINED, ("face_changed",), None)
    assert result.frames_used == 8
    assert all(frame.score is None for frame in result.frames)
    # The two instants between which the face was exchanged.
    assert [frame.index for frame in result.frames if frame.reasons == ("face_changed",)] == [29, 30]


async def test_the_heads_operating_point_decides(pipeline):
    made = pipeline()
    assert made.operating_point(None).name == "eer"
    with pytest.raises(InvalidParameterError, match="'lax'"):
        await made.score(person_clip(), ScoreOptions("lax"))
    assert (await made.score(person_clip(), ScoreOptions("strict"))).verdict is Verdict.SPOOF


async def test_a_heat_map_of_the_middle_frame_is_made_where_it_is_asked_for(pipeline):
    made = pipeline()
    assert (await made.score(person_clip(), ScoreOptions())).face.heatmap_png is None
    assert (await made.score(person_clip(), ScoreOptions(explain=True))).face.heatmap_png.startswith(b"\x89PNG")


async def test_a_head_that_fails_concludes_nothing(pipeline, bundle, monkeypatch):
    def broken(_embeddings):
        raise RuntimeError("broken")

    monkeypatch.setattr(bundle.clip_scorer, "score_embeddings", broken)
    with pytest.raises(ScoringFailedError, match="there is no verdict"):
        await pipeline().score(person_clip(), ScoreOptions())


async def test_what_cannot_be_read_is_the_callers_error(pipeline):
    with pytest.raises(UnreadableMediaError):
        await pipeline().score(person_clip()[:2000], ScoreOptions())


async def test_a_clip_that_nobody_waits_for_any_more_is_not_read_to_its_end(pipeline):
    looked, go_on = threading.Event(), threading.Event()
    looks = []

    def slow(picture):
        looks.append(1)
        looked.set()
        go_on.wait(10)
        return []

    made = pipeline(slow)
    waiting = asyncio.create_task(made.score(person_clip(), ScoreOptions()))
    await asyncio.to_thread(looked.wait, 10)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    go_on.set()
    # The thread is free again for the next clip, and has looked no further.
    await asyncio.get_running_loop().run_in_executor(made._threads, lambda: None)
    assert len(looks) == 1
