from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from liveness_core.bundle import load_bundle
from liveness_core.scoring import CropScore, Score
from liveness_service.decoding.image import ImageLimits
from liveness_service.errors import InvalidParameterError, UnreadableMediaError
from liveness_service.results import Verdict
from liveness_service.scoring.batcher import MicroBatcher
from liveness_service.scoring.model import Model
from liveness_service.scoring.photo import PhotoPipeline
from liveness_service.submission import FacePolicy, ScoreOptions
from support.fakes import FakeDetector, face
from support.pictures import astronaut, encoded

pytestmark = pytest.mark.anyio


class FakeScorer:
    """Gives the scores that it is told, in order."""

    def __init__(self, scores, explained=False):
        self.left = list(scores)
        self.explained = explained
        self.crops = []

    def score(self, crops, *, explain=False):
        self.crops += crops
        activation = np.ones((7, 7), np.float32) if explain or self.explained else None
        return [CropScore(Score(self.left.pop(0)), np.zeros(4, np.float32), activation) for _ in crops]


@pytest.fixture
def answer(live_bundle):
    """Score a picture in which these faces are found, with these scores."""

    async def run(found, scores=(), *, content=None, max_faces=3, neighbour_explained=False, **options):
        run.scorer, run.detector = FakeScorer(scores, neighbour_explained), FakeDetector(found)
        batcher = MicroBatcher(run.scorer, max_batch_size=8)
        batcher.start()
        with ThreadPoolExecutor(1) as threads:
            model = Model(load_bundle(live_bundle), run.detector)
            pipeline = PhotoPipeline(model, batcher, threads, ImageLimits(1_000_000), max_faces)
            try:
                return await pipeline.score(content or encoded(astronaut(), "PNG"), ScoreOptions(**options))
            finally:
                await batcher.close()

    return run


async def test_one_face_decides(answer):
    result = await answer([face()], [0.7])
    assert (result.verdict, result.score, result.reasons) == (Verdict.LIVE, 0.7, ())
    assert (result.width, result.height) == (512, 512)
    assert [each.face for each in result.faces] == [face()]
    result = await answer([face()], [0.3])
    assert (result.verdict, result.score) == (Verdict.SPOOF, 0.3)


async def test_the_crop_is_of_the_bundles_size_and_shows_the_face(answer):
    await answer([face()], [0.7])
    [(crop,)] = answer.scorer.crops
    assert crop.shape == (224, 224, 3)
    # 2.7 faces of about 100 px about the face: the head's colours, not the whole picture's.
    expected = astronaut()[0:280, 85:365]
    assert np.abs(crop.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 12


async def test_the_detector_sees_the_upright_picture(answer):

    exif = Image.Exif()
    exif[0x0112] = 6
    wide = astronaut()[:300]
    content = encoded(np.ascontiguousarray(np.rot90(wide)), "PNG", exif=exif)
    result = await answer([face()], [0.7], content=content)
    np.testing.assert_array_equal(answer.detector.pictures[0], wide)
    assert (result.width, result.height) == (512, 300)


async def test_of_several_faces_none_is_scored_unless_it_is_asked_for(answer):
    result = await answer([face(scale=1.2), face(dx=150)])
    assert (result.verdict, result.reasons, result.score) == (Verdict.UNDETERMINED, ("multiple_faces",), None)
    assert answer.scorer.crops == []
    assert [each.reasons for each in result.faces] == [("multiple_faces",)] * 2
    assert [each.verdict for each in result.faces] == [Verdict.UNDETERMINED] * 2


async def test_the_largest_face_alone_decides(answer):
    result = await answer([face(scale=1.2), face(dx=150)], [0.8], faces=FacePolicy.LARGEST)
    assert (result.verdict, result.score) == (Verdict.LIVE, 0.8)
    assert [each.face for each in result.faces] == [face(scale=1.2)]


async def test_all_faces_are_scored_each_by_its_own_crop_and_the_least_live_decides(answer):
    faces = [face(scale=1.2), face(dx=150), face(dx=-100)]
    result = await answer(faces, [0.8, 0.4, 0.9], faces=FacePolicy.ALL)
    assert (result.verdict, result.score) == (Verdict.SPOOF, 0.4)
    assert [(each.face, each.score, each.verdict) for each in result.faces] == [
        (faces[0], 0.8, Verdict.LIVE),
        (faces[1], 0.4, Verdict.SPOOF),
        (faces[2], 0.9, Verdict.LIVE),
    ]


async def test_a_refused_face_among_all_is_not_scored_and_bars_a_pass(answer):
    faces = [face(), face(turn_deg=60), face(dx=-100)]
    result = await answer(faces, [0.8, 0.9], faces=FacePolicy.ALL)
    assert (result.verdict, result.reasons) == (Verdict.UNDETERMINED, ("extreme_pose",))
    assert [each.score for each in result.faces] == [0.8, None, 0.9]
    assert [each.reasons for each in result.faces] == [(), ("extreme_pose",), ()]


async def test_more_faces_than_are_scored(answer):
    faces = [face(dx=dx) for dx in (-100, -50, 0, 50)]
    result = await answer(faces, faces=FacePolicy.ALL, max_faces=3)
    assert (result.verdict, result.reasons, result.score) == (Verdict.UNDETERMINED, ("too_many_faces",), None)
    assert answer.scorer.crops == []
    assert len(result.faces) == 3
    assert (await answer(faces[:3], [0.9] * 3, faces=FacePolicy.ALL, max_faces=3)).verdict is Verdict.LIVE


@pytest.mark.parametrize(
    ("reason", "found", "change"),
    [
        ("face_too_small", face(scale=0.3), None),
        ("face_cut_off", face(dx=-210), None),
        ("extreme_pose", face(turn_deg=60), None),
        ("too_dark", face(), lambda picture: picture // 12),
        ("too_bright", face(), lambda picture: 255 - (255 - picture) // 20),
        ("too_blurry", face(), lambda picture: cv2.GaussianBlur(picture, (0, 0), 8)),
    ],
)
async def test_what_cannot_be_judged_is_refused_with_its_reason_and_not_scored(answer, reason, found, change):
    content = None if change is None else encoded(np.ascontiguousarray(change(astronaut())), "PNG")
    for policy in (FacePolicy.SINGLE, FacePolicy.LARGEST):
        result = await answer([found], content=content, faces=policy)
        assert (result.verdict, result.score) == (Verdict.UNDETERMINED, None)
        assert reason in result.reasons
        assert answer.scorer.crops == []
        [only] = result.faces
        assert (only.verdict, only.score, only.reasons) == (Verdict.UNDETERMINED, None, result.reasons)


async def test_a_refused_largest_face_is_not_replaced_by_the_next(answer):
    result = await answer([face(dx=-210, scale=1.2), face()], faces=FacePolicy.LARGEST)
    assert (result.verdict, result.reasons) == (Verdict.UNDETERMINED, ("face_cut_off",))


async def test_the_operating_point_sets_the_threshold(answer):
    default = await answer([face()], [0.9])
    assert (default.operating_point, default.threshold, default.verdict) == ("eer", 0.5, Verdict.LIVE)
    strict = await answer([face()], [0.9], operating_point="strict")
    assert (strict.operating_point, strict.threshold, strict.verdict) == ("strict", 0.9999, Verdict.SPOOF)
    with pytest.raises(InvalidParameterError, match="'lax', only eer, strict"):
        await answer([face()], [0.9], operating_point="lax")


async def test_a_heat_map_is_made_where_it_is_asked_for(answer):
    assert (await answer([face()], [0.9])).faces[0].heatmap_png is None
    # A batch is explained as a whole: this crop was in one with a crop whose request did ask.
    assert (await answer([face()], [0.9], neighbour_explained=True)).faces[0].heatmap_png is None
    result = await answer([face(), face(dx=150, scale=0.3)], [0.9], explain=True, faces=FacePolicy.ALL)
    heatmap = cv2.imdecode(np.frombuffer(result.faces[0].heatmap_png, np.uint8), cv2.IMREAD_COLOR)
    assert heatmap.shape == (224, 224, 3)
    assert result.faces[1].heatmap_png is None


async def test_the_heat_map_takes_the_operating_points_threshold_for_its_zero(answer):
    maps = {}
    for point in ("eer", "strict"):  # at 0.5 a face of 0.9 is live, at the bundle's strict threshold it is a spoof
        result = await answer([face()], [0.9], explain=True, operating_point=point)
        content = np.frombuffer(result.faces[0].heatmap_png, np.uint8)
        maps[result.verdict] = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB).mean(axis=(0, 1))
    more_red = maps[Verdict.SPOOF] - maps[Verdict.LIVE]
    assert more_red[0] > 20 > -20 > more_red[2]


async def test_times_of_the_stages_are_within_the_total(answer):
    result = await answer([face()], [0.9])
    timings = result.timings_ms
    stages = [timings.decode, timings.detect, timings.align, timings.queue, timings.infer]
    assert all(stage > 0 for stage in stages)
    assert sum(stages) <= timings.total
    none = (await answer([])).timings_ms
    assert none.decode > 0
    assert (none.queue, none.infer) == (0, 0)


async def test_an_unreadable_picture_is_the_callers_error(answer):
    with pytest.raises(UnreadableMediaError):
        await answer([face()], content=encoded(astronaut())[:5000])
