import io

import numpy as np
import pytest

from liveness_core.bundle import GoldenCases

CROPS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def archive(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_cases_survive_the_file():
    cases = GoldenCases({"image": CROPS}, {"fp32": np.array([0.1, 0.5, 1 / 3]), "int8": np.array([0.2, 0.5, 0.9])})
    again = GoldenCases.from_bytes(cases.to_bytes())
    np.testing.assert_array_equal(again.crops_KSS3["image"], CROPS)
    assert sorted(again.scores_K) == ["fp32", "int8"]
    for precision, scores in cases.scores_K.items():
        np.testing.assert_array_equal(again.scores_K[precision], scores)


def test_clips_survive_the_file():
    clips = np.array([[0, 1, 2, 0], [2, 2, 1, 0]])
    cases = GoldenCases({"image": CROPS}, {"fp32": np.zeros(3)}, clips, {"fp32": np.array([0.25, 1 / 3])})
    again = GoldenCases.from_bytes(cases.to_bytes())
    np.testing.assert_array_equal(again.clips_JT, clips)
    np.testing.assert_array_equal(again.clip_scores_J["fp32"], [0.25, 1 / 3])
    assert list(again.scores_K) == ["fp32"]


def test_file_without_clips_has_none():
    again = GoldenCases.from_bytes(GoldenCases({"image": CROPS}, {"fp32": np.zeros(3)}).to_bytes())
    assert again.clips_JT is None
    assert again.clip_scores_J == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        GoldenCases({"image": CROPS}, {}).to_bytes()[:-50],
        archive(scores_fp32=np.zeros(3)),
        archive(crops=CROPS[:0]),
        archive(crops=CROPS[0]),
        archive(crops=CROPS.astype(np.float32)),
        archive(crops=CROPS, scores_fp32=np.zeros(2)),
        archive(crops=CROPS, scores_fp32=np.zeros((3, 1))),
        archive(crops=CROPS, scores_fp32=np.array([0.5, np.nan, 0.5])),
        archive(crops=CROPS, scores_fp32=np.array(["a", "b", "c"])),
        archive(crops=CROPS, scores_fp32=np.array([0.1, 0.5, 0.9], dtype=object)),  # a pickle: never loaded
        archive(crops=CROPS, surprise=np.zeros(3)),
        archive(crops=CROPS, clips=np.array([[0, 3]])),
        archive(crops=CROPS, clips=np.array([[0, -1]])),
        archive(crops=CROPS, clips=np.array([[0.0, 1.0]])),
        archive(crops=CROPS, clips=np.array([0, 1])),
        archive(crops=CROPS, clips=np.zeros((0, 8), int)),
        archive(crops=CROPS, clip_scores_fp32=np.array([0.5])),
        archive(crops=CROPS, clips=np.array([[0, 1]]), clip_scores_fp32=np.array([0.5, 0.5])),
        archive(crops=CROPS, clips=np.array([[0, 1]]), clip_scores_fp32=np.array([np.nan])),
    ],
)
def test_anything_else_is_a_value_error(content):
    with pytest.raises(ValueError, match=r".+"):
        GoldenCases.from_bytes(content)
