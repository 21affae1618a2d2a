import dataclasses
import io
import math

import cv2
import numpy as np
import pytest
from PIL import Image

from liveness_core.quality import MEASURED_GATES, QualityGates, head_pose_deg, measure, refusals
from liveness_core.types import Box, DetectedFace, Quality
from support.pictures import astronaut, encoded, in_less_light

GOOD = Quality(face_px=200, sharpness=0.5, brightness=0.5, yaw_deg=0, pitch_deg=0, roll_deg=0, cut_off=0)
LEVEL = ((40.0, 40.0), (60.0, 40.0), (50.0, 52.0), (42.0, 62.0), (58.0, 62.0))


def boxed(x1, y1, x2, y2):
    return DetectedFace(Box(x1, y1, x2, y2), LEVEL, 1.0)


def posed(yaw=0.0, pitch=0.0, roll=0.0, distance=12.0):
    """Landmarks of a head that is first nodded up, then turned to the picture's right, then tilted clockwise.

    Axes as on the screen: x right, y down, z away from the camera. The projection is a real camera's.
    """
    head = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, 0.6, -0.45], [-0.4, 1.1, 0], [0.4, 1.1, 0]])
    yaw, pitch, roll = (math.radians(angle) for angle in (yaw, pitch, roll))
    nod = np.array([[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]])
    turn = np.array([[math.cos(yaw), 0, -math.sin(yaw)], [0, 1, 0], [math.sin(yaw), 0, math.cos(yaw)]])
    tilt = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    x, y, z = (tilt @ turn @ nod) @ (head - head.mean(axis=0)).T
    points = np.stack([300 + 900 * x / (distance + z), 200 + 900 * y / (distance + z)], axis=1)
    return DetectedFace(Box(0, 0, 1, 1), tuple((float(x), float(y)) for x, y in points), 1.0)


@pytest.mark.parametrize("angle", [-50, -35, -15, 0, 15, 35, 50])
def test_yaw_is_positive_to_the_pictures_right(angle):
    yaw, pitch, roll = head_pose_deg(posed(yaw=angle))
    assert yaw == pytest.approx(angle, abs=10)
    assert abs(pitch) < 10
    assert abs(roll) < 10


@pytest.mark.parametrize("angle", [-50, -35, -15, 0, 15, 35, 50])
def test_pitch_is_positive_for_a_nose_that_points_up(angle):
    yaw, pitch, roll = head_pose_deg(posed(pitch=angle))
    assert pitch == pytest.approx(angle, abs=10)
    assert abs(yaw) < 5
    assert abs(roll) < 5


@pytest.mark.parametrize("angle", [-120, -40, -10, 10, 40, 120])
def test_roll_is_positive_clockwise(angle):
    yaw, pitch, roll = head_pose_deg(posed(roll=angle))
    assert roll == pytest.approx(angle, abs=2)
    assert abs(yaw) < 5
    assert abs(pitch) < 10


def test_pose_does_not_depend_on_place_and_scale():
    face = posed(yaw=20, pitch=-10, roll=15)
    moved = DetectedFace(face.box, tuple((7 * x - 4000, 7 * y + 90) for x, y in face.landmarks), 1.0)
    assert head_pose_deg(moved) == pytest.approx(head_pose_deg(face))


def test_landmarks_in_one_place_still_have_a_pose():
    pose = head_pose_deg(DetectedFace(Box(0, 0, 9, 9), ((5.0, 5.0),) * 5, 1.0))
    assert all(math.isfinite(angle) for angle in pose)


def test_the_astronaut_looks_at_the_camera(astronaut_face):
    quality = measure(astronaut(), astronaut_face)
    assert refusals(quality, QualityGates()) == ()
    assert abs(quality.yaw_deg) < 15
    assert abs(quality.pitch_deg) < 25
    assert 0 < quality.roll_deg < 8  # her eye at the picture's right is a little lower
    assert quality.cut_off == 0


def test_sharpness_falls_with_blur_and_stays_between_0_and_1(astronaut_face):
    views = [astronaut(), *(cv2.GaussianBlur(astronaut(), (0, 0), sigma) for sigma in (1, 2, 4, 8))]
    sharpness = [measure(view, astronaut_face).sharpness for view in views]
    assert sharpness == sorted(sharpness, reverse=True)
    assert len(set(sharpness)) == len(sharpness)
    assert sharpness[0] > 0.5
    assert 0 <= sharpness[-1] < 0.05


def test_face_blurred_beyond_recognition_is_refused(astronaut_face):
    blurred = measure(cv2.GaussianBlur(astronaut(), (0, 0), 4), astronaut_face)
    assert refusals(blurred, QualityGates()) == ("too_blurry",)
    soft = measure(cv2.GaussianBlur(astronaut(), (0, 0), 1), astronaut_face)
    assert refusals(soft, QualityGates()) == ()


def test_sharpness_of_a_face_is_that_of_its_box_alone():
    picture = np.full((300, 300, 3), 128, np.uint8)
    squares = np.kron(np.arange(75).reshape(15, 5) % 2, np.ones((20, 20)))  # noise would be no sharpness
    picture[:, 200:] = np.repeat(squares[..., None] * 255, 3, axis=2).astype(np.uint8)
    assert measure(picture, boxed(20, 20, 180, 180)).sharpness == 0
    assert measure(picture, boxed(200, 20, 300, 120)).sharpness > 0.9


def test_an_enlarged_face_is_not_sharper_than_it_is_large(astronaut_face):
    box = astronaut_face.box
    small = cv2.resize(astronaut(), (128, 128), interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (512, 512), interpolation=cv2.INTER_LINEAR)
    quarter = DetectedFace(Box(box.x1 / 4, box.y1 / 4, box.x2 / 4, box.y2 / 4), LEVEL, 1.0)
    sharp = measure(astronaut(), astronaut_face).sharpness
    assert measure(large, astronaut_face).sharpness < sharp / 2
    assert measure(small, quarter).sharpness < sharp / 2


@pytest.mark.parametrize("value", [0, 51, 128, 255])
def test_brightness_is_the_mean_luma(value):
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[50:150, 50:150] = value
    assert measure(picture, boxed(50, 50, 150, 150)).brightness == pytest.approx(value / 255, abs=0.003)


def test_brightness_is_of_the_whole_box_and_nothing_else():
    picture = np.full((200, 200, 3), 255, np.uint8)
    picture[60:140, 60:140] = 0
    picture[110:140, 60:140] = 200
    picture[60:140, 130:140] = 100
    expected = picture[60:140, 60:140].mean() / 255
    assert measure(picture, boxed(60, 60, 140, 140)).brightness == pytest.approx(expected, abs=0.005)


def test_green_is_brighter_than_blue_as_the_picture_is_rgb():
    red, green, blue = (np.zeros((60, 60, 3), np.uint8) for _ in range(3))
    red[..., 0] = green[..., 1] = blue[..., 2] = 255
    brightness = [measure(picture, boxed(0, 0, 60, 60)).brightness for picture in (red, green, blue)]
    assert brightness == pytest.approx([0.299, 0.587, 0.114], abs=0.005)


def test_face_px_is_the_shorter_side():
    picture = np.zeros((200, 200, 3), np.uint8)
    assert measure(picture, boxed(50, 50, 90, 150)).face_px == 40
    assert measure(picture, boxed(50, 50, 150, 80)).face_px == 30


@pytest.mark.parametrize(
    ("box", "cut_off"),
    [
        ((0, 0, 100, 100), 0),
        ((-50, 10, 50, 110), 0.5),
        ((150, 150, 250, 250), 0.75),
        ((10, -25, 60, 75), 0.25),
        ((300, 300, 400, 400), 1),
        ((-90, -90, -10, -10), 1),
    ],
)
def test_cut_off_is_the_share_of_the_box_outside(box, cut_off):
    quality = measure(np.full((200, 200, 3), 128, np.uint8), boxed(*box))
    assert quality.cut_off == pytest.approx(cut_off)


def test_face_outside_the_picture_is_refused():
    quality = measure(np.full((200, 200, 3), 128, np.uint8), boxed(300, 300, 400, 400))
    assert {"face_cut_off", "too_dark", "too_blurry"} <= set(refusals(quality, QualityGates()))


def test_good_face_is_not_refused():
    assert refusals(GOOD, QualityGates()) == ()


def test_refusals_name_the_most_fundamental_first():
    bad = Quality(face_px=5, sharpness=0, brightness=0, yaw_deg=80, pitch_deg=0, roll_deg=0, cut_off=0.9)
    expected = ("face_too_small", "face_cut_off", "too_dark", "too_blurry", "extreme_pose")
    assert refusals(bad, QualityGates()) == expected


@pytest.mark.parametrize(
    ("field", "gate", "at_limit", "beyond", "reason"),
    [
        ("face_px", "min_face_px", 50, 49.9, "face_too_small"),
        ("cut_off", "max_cut_off", 0.3, 0.31, "face_cut_off"),
        ("sharpness", "min_sharpness", 0.2, 0.19, "too_blurry"),
        ("brightness", "min_brightness", 0.2, 0.19, "too_dark"),
        ("brightness", "max_brightness", 0.7, 0.71, "too_bright"),
        ("yaw_deg", "max_yaw_deg", 20, 20.1, "extreme_pose"),
        ("yaw_deg", "max_yaw_deg", 20, -20.1, "extreme_pose"),
        ("pitch_deg", "max_pitch_deg", 20, 20.1, "extreme_pose"),
        ("pitch_deg", "max_pitch_deg", 20, -20.1, "extreme_pose"),
        ("roll_deg", "max_roll_deg", 20, 20.1, "extreme_pose"),
        ("roll_deg", "max_roll_deg", 20, -20.1, "extreme_pose"),
        ("noise", "max_noise", 0.5, 0.51, "too_noisy"),
        ("blockiness", "max_blockiness", 0.5, 0.51, "too_compressed"),
    ],
)
def test_each_gate_refuses_beyond_its_limit_only(field, gate, at_limit, beyond, reason):
    gates = QualityGates(**{gate: at_limit})
    values = {name: getattr(GOOD, name) for name in Quality.__slots__}
    assert refusals(Quality(**{**values, field: at_limit}), gates) == ()
    assert refusals(Quality(**{**values, field: beyond}), gates) == (reason,)


# --- noise and compression ---


def test_noise_with_grain_is_a_sensors_and_has_a_lower_limit_than_fine_texture():
    gates = QualityGates(max_noise=0.3, sensor_grain=0.4, max_smooth_noise=0.6)
    of = {
        (noise, grain): refusals(dataclasses.replace(GOOD, noise=noise, grain=grain), gates)
        for noise in (0.3, 0.5, 0.7)
        for grain in (0.39, 0.4)
    }
    assert {case for case, reasons in of.items() if reasons} == {(0.5, 0.4), (0.7, 0.4), (0.7, 0.39)}
    assert set(of.values()) == {(), ("too_noisy",)}
    before = QualityGates(max_noise=0.3)
    assert refusals(dataclasses.replace(GOOD, noise=0.31, grain=0.0), before) == ("too_noisy",)


def test_noise_is_not_sharpness_and_grows_as_the_light_goes(astronaut_face):
    full = measure(astronaut(), astronaut_face)
    darker = [measure(in_less_light(stops), astronaut_face) for stops in (1, 2, 3, 4, 5, 6)]
    noise = [full.noise, *(quality.noise for quality in darker)]
    assert noise == sorted(noise)
    assert noise[0] < MEASURED_GATES.max_noise < noise[4]
    for quality in darker[:5]:
        assert quality.sharpness == pytest.approx(full.sharpness, abs=0.06)
    assert refusals(full, MEASURED_GATES) == ()
    assert all("too_noisy" in refusals(quality, MEASURED_GATES) for quality in darker[2:])


def test_grain_is_what_differs_from_pixel_to_pixel_and_neither_texture_nor_what_was_enlarged(astronaut_face):
    sharp, dark = astronaut(), in_less_light(2)
    assert measure(sharp, astronaut_face).grain < 0.5 * measure(dark, astronaut_face).grain
    box, points = astronaut_face.box, astronaut_face.landmarks
    twice = DetectedFace(
        Box(2 * box.x1, 2 * box.y1, 2 * box.x2, 2 * box.y2), tuple((2 * x, 2 * y) for x, y in points), 1.0
    )
    enlarged = cv2.resize(dark, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    assert measure(enlarged, twice).grain < 0.5 * measure(dark, astronaut_face).grain


@pytest.mark.slow
def test_the_noise_of_a_large_picture_does_no_harm(astronaut_face):
    picture = np.kron(astronaut(), np.ones((3, 3, 1), np.uint8)).astype(np.int16)
    picture = np.clip(picture + np.random.default_rng(0).normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
    box = astronaut_face.box
    points = tuple((3 * x, 3 * y) for x, y in astronaut_face.landmarks)
    large = DetectedFace(Box(3 * box.x1, 3 * box.y1, 3 * box.x2, 3 * box.y2), points, 1.0)
    small = np.clip(astronaut() + np.random.default_rng(0).normal(0, 6, astronaut().shape), 0, 255).astype(np.uint8)
    assert refusals(measure(picture, large), MEASURED_GATES) == ()
    assert refusals(measure(small, astronaut_face), MEASURED_GATES) == ("too_noisy",)


def test_compression_shows_in_the_edges_of_blocks(astronaut_face):
    found = []
    for quality in (95, 50, 20, 10, 5):
        content = encoded(astronaut(), quality=quality)
        found.append(measure(np.asarray(Image.open(io.BytesIO(content))), astronaut_face).blockiness)
    assert found == sorted(found)
    assert found[0] < 0.1 < found[1] < MEASURED_GATES.max_blockiness < found[3]
    smaller = cv2.resize(astronaut(), (400, 400), interpolation=cv2.INTER_AREA)
    assert measure(smaller, astronaut_face).blockiness < 0.15


def test_bundles_from_before_these_gates_refuse_nobody_for_them():
    worst = dataclasses.replace(GOOD, noise=50.0, grain=50.0, blockiness=50.0)
    assert refusals(worst, QualityGates.model_validate({"min_face_px": 40.0})) == ()
    assert refusals(worst, MEASURED_GATES) == ("too_noisy", "too_compressed")


def test_a_codec_that_does_not_smooth_its_blocks_may_show_more_of_them():
    older = QualityGates(max_clip_blockiness=0.16)
    assert older.max_mean_blockiness(smooths_blocks=True) == older.max_mean_blockiness(smooths_blocks=False) == 0.16
    assert MEASURED_GATES.max_mean_blockiness(smooths_blocks=True) == 0.16
    assert MEASURED_GATES.max_mean_blockiness(smooths_blocks=False) == 0.5
    assert QualityGates().max_mean_blockiness(smooths_blocks=False) is None
