import numpy as np
import pytest

from liveness_training.data.clips import Clip
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import Sample
from liveness_training.evaluation.levels import presentations, scored


def frame(recording, place, species="live"):
    return Sample(f"{recording}-{place}.jpg", "office", species == "live", species, f"of {recording}", recording)


FRAMES = [frame("a", 0), frame("a", 1), frame("b", 0, "print"), frame("b", 1, "print"), frame("c", 0), frame("c", 1)]
SINGLE = Sample("single.jpg", "office", True, "live", "someone", "")
CROPS = CropSet((*FRAMES, SINGLE), (), np.zeros((7, 1, 8, 8, 3), np.uint8))
SCORES = dict(enumerate([0.8, 0.6, 0.1, 0.3, 0.9, 0.5, 0.4]))
MISSED = (frame("c", 2), frame("d", 0, "print"), frame("d", 1, "print"))
CLIPS = {Clip((0, 1), FRAMES[0]): 0.75, Clip((2, 3), FRAMES[2]): 0.05}


def found(level, rows=range(7), missed=MISSED):
    return {each.name: each.score for each in presentations(level, CROPS, list(rows), missed, SCORES, CLIPS)}


def test_frames_are_one_each_and_those_without_a_face_are_non_responses():
    values = found("frame")
    assert len(values) == 10
    assert values["office/a-1.jpg"] == 0.6
    assert values["office/c-2.jpg"] is None


def test_recordings_have_the_mean_of_their_frames_and_need_one_face():
    assert found("video") == pytest.approx(
        {
            "office/live/a": 0.7,
            "office/print/b": 0.2,
            "office/live/c": 0.7,
            "office/live/single.jpg": 0.4,
            "office/print/d": None,
        }
    )


def test_clips_have_their_own_score_and_single_pictures_are_none():
    assert found("clip") == {
        "office/live/a": 0.75,
        "office/print/b": 0.05,
        "office/live/c": None,
        "office/print/d": None,
    }


def test_clips_of_other_parts_stay_out():
    assert found("clip", rows=[0, 1], missed=()) == {"office/live/a": 0.75}


def test_live_and_attack_of_one_name_are_two_recordings():
    crops = CropSet((frame("x", 0), frame("x", 1, "print")), (), np.zeros((2, 1, 8, 8, 3), np.uint8))
    names = [each.name for each in presentations("video", crops, [0, 1], (), {0: 0.9, 1: 0.1}, {})]
    assert names == ["office/live/x", "office/print/x"]


def test_scores_come_with_truth_and_person_and_without_non_responses():
    each = scored(presentations("frame", CROPS, range(7), MISSED, SCORES, CLIPS))
    assert len(each.scores_M) == 7
    assert each.live_M.tolist() == [True, True, False, False, True, True, True]
    assert each.cluster_M[0] == each.cluster_M[1] == "office/of a"
