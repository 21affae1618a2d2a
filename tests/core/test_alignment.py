import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveness_core.alignment import align, crop_square, cut, eye_angle_deg, face_size
from liveness_core.types import Box, DetectedFace
from support.pictures import astronaut


def face_at(x, y, width, height=None, angle_deg=0.0):
    """A face whose eyes lie 0.4 widths apart on a line turned by `angle_deg`."""
    height = width if height is None else height
    eye = 0.2 * width
    dx, dy = eye * math.cos(math.radians(angle_deg)), eye * math.sin(math.radians(angle_deg))
    points = ((x - dx, y - dy), (x + dx, y + dy), (x + 3, y + 5), (x - dx, y + 9), (x + dx, y + 9))
    return DetectedFace(Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2), points, 1.0)


def corners(square):
    """The corners of a square turned clockwise on the screen, from its definition in `CropSquare`."""
    angle = math.radians(square.angle_deg)
    half = square.side_px / 2
    for u, v in ((-half, -half), (half, -half), (half, half), (-half, half)):
        yield (
            square.centre[0] + u * math.cos(angle) - v * math.sin(angle),
            square.centre[1] + u * math.sin(angle) + v * math.cos(angle),
        )


def brightest(pixels):
    """Centroid of the bright pixels; (0, 0) is the top-left corner of the top-left pixel."""
    weight = pixels[..., 0].astype(float)
    ys, xs = np.mgrid[: weight.shape[0], : weight.shape[1]] + 0.5
    return (xs * weight).sum() / weight.sum(), (ys * weight).sum() / weight.sum()


def turned(picture, angle_deg, centre):
    """The picture turned clockwise on the screen around a point, and a function that turns points in the same way."""
    matrix = cv2.getRotationMatrix2D((centre[0] - 0.5, centre[1] - 0.5), -angle_deg, 1.0)
    height, width = picture.shape[:2]
    result = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)

    def mapped(point):
        x, y = matrix @ [point[0] - 0.5, point[1] - 0.5, 1.0]
        return float(x) + 0.5, float(y) + 0.5

    return result, mapped


@settings(deadline=None, max_examples=200)
@given(
    x=st.floats(-200, 900),
    y=st.floats(-200, 900),
    face_width=st.floats(2, 1500),
    ratio=st.floats(0.5, 2),
    angle=st.floats(-180, 180),
    margin=st.floats(1, 6),
    width=st.integers(1, 700),
    height=st.integers(1, 700),
)
def test_crop_lies_inside_the_picture(x, y, face_width, ratio, angle, margin, width, height):
    square = crop_square(face_at(x, y, face_width, face_width * ratio, angle), width, height, margin)
    assert square.side_px > 0
    for corner_x, corner_y in corners(square):
        assert -1e-6 <= corner_x <= width + 1e-6
        assert -1e-6 <= corner_y <= height + 1e-6


@settings(deadline=None, max_examples=100)
@given(
    x=st.floats(0, 400),
    y=st.floats(0, 300),
    face_width=st.floats(20, 400),
    angle=st.floats(-60, 60),
    margin=st.floats(1, 4),
)
def test_crop_shrinks_and_shifts_no_more_than_it_must(x, y, face_width, angle, margin):
    face = face_at(x, y, face_width, angle_deg=angle)
    square = crop_square(face, 400, 300, margin)
    spread = abs(math.cos(math.radians(angle))) + abs(math.sin(math.radians(angle)))
    wanted = margin * face_width
    assert square.side_px == pytest.approx(min(wanted, 300 / spread))
    for centre, asked, length in ((square.centre[0], x, 400), (square.centre[1], y, 300)):
        reach = square.side_px * spread / 2
        moved = abs(centre - asked)
        # Where the centre moved, the crop touches the side that it came from.
        assert moved < 1e-6 or min(abs(centre - reach), abs(length - reach - centre)) < 1e-6


def test_face_in_the_middle_is_cut_at_the_margin_asked_for():
    face = face_at(200, 150, 40, 90)
    result = align(np.zeros((300, 400, 3), np.uint8), face, margin=2.7, size=64)
    assert result.side_px == pytest.approx(2.7 * 60)  # 60 is the geometric mean of 40 and 90
    assert result.margin == pytest.approx(2.7)
    assert result.centre == (200, 150)
    assert result.angle_deg == 0


def test_face_that_fills_the_picture_is_cut_at_a_smaller_margin_and_shifted_inside():
    face = face_at(180, 100, 190)
    result = align(np.zeros((200, 300, 3), np.uint8), face, margin=2.7, size=64)
    assert result.side_px == 200
    assert result.margin == pytest.approx(200 / 190)
    assert result.centre == (180, 100)
    near_the_edge = align(np.zeros((200, 300, 3), np.uint8), face_at(290, 10, 190), margin=2.7, size=64)
    assert near_the_edge.side_px == 200
    assert near_the_edge.centre == (200, 100)


def test_size_of_a_flat_box_is_that_of_at_least_one_pixel():
    assert face_size(Box(0, 0, 100, 0.01)) == 10


@pytest.mark.parametrize("angle", [-170, -90, -30, 0, 12, 90, 135])
def test_eye_angle_is_positive_clockwise(angle):
    assert eye_angle_deg(face_at(50, 50, 40, angle_deg=angle)) == pytest.approx(angle)


def test_crop_at_the_pictures_own_scale_is_exact():
    picture = np.random.default_rng(1).integers(0, 256, (120, 150, 3), dtype=np.uint8)
    result = align(picture, face_at(70, 60, 32), margin=2.0, size=64)
    np.testing.assert_array_equal(result.pixels, picture[28:92, 38:102])


def test_crop_of_the_whole_picture_at_its_own_scale_is_exact():
    picture = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(align(picture, face_at(32, 32, 64), margin=2.0, size=64).pixels, picture)


def test_crop_at_half_the_pictures_scale_averages_two_by_two():
    picture = np.random.default_rng(3).integers(0, 256, (200, 220, 3), dtype=np.uint8)
    result = align(picture, face_at(100, 90, 64), margin=2.0, size=64)
    source = picture[26:154, 36:164].astype(float)
    averaged = source.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(result.pixels - averaged).max() <= 1


@settings(deadline=None, max_examples=40)
@given(angle=st.floats(-180, 180), margin=st.floats(1.5, 3.5), x=st.floats(280, 320), y=st.floats(280, 320))
def test_marks_at_the_eyes_land_level_and_where_they_belong(angle, margin, x, y):
    face = face_at(x, y, 80, angle_deg=angle)
    size = 128  # so that margins to 1.6 enlarge and the others shrink
    middles = []
    for eye in face.landmarks[:2]:
        # 16 pixels from its middle the spot has long been black.
        left, top = (int(value) - 16 for value in eye)
        ys, xs = np.mgrid[top : top + 33, left : left + 33] + 0.5
        spot = 255 * np.exp(-((xs - eye[0]) ** 2 + (ys - eye[1]) ** 2) / (2 * 3.0**2))
        picture = np.zeros((600, 600, 3), np.uint8)
        picture[top : top + 33, left : left + 33] = np.rint(spot)[..., None]
        middles.append(brightest(align(picture, face, margin=margin, size=size).pixels))
    half_distance = 0.2 * 80 * size / (margin * 80)
    (left_x, left_y), (right_x, right_y) = middles
    assert left_x == pytest.approx(size / 2 - half_distance, abs=0.25)
    assert right_x == pytest.approx(size / 2 + half_distance, abs=0.25)
    assert left_y == pytest.approx(size / 2, abs=0.25)
    assert right_y == pytest.approx(size / 2, abs=0.25)


@pytest.mark.parametrize("angle", [-120, -35, -10, 20, 45])
def test_crop_of_a_turned_picture_is_the_crop_of_the_upright_one(astronaut_face, angle):
    centre = astronaut_face.box.centre
    size = face_size(astronaut_face.box)
    square_box = Box(centre[0] - size / 2, centre[1] - size / 2, centre[0] + size / 2, centre[1] + size / 2)
    face = DetectedFace(square_box, astronaut_face.landmarks, 1.0)
    picture, mapped = turned(astronaut(), angle, centre)
    turned_face = DetectedFace(square_box, tuple(mapped(point) for point in face.landmarks), 1.0)
    upright = align(astronaut(), face, margin=1.4, size=112).pixels.astype(float)
    after = align(picture, turned_face, margin=1.4, size=112)
    assert after.angle_deg == pytest.approx(eye_angle_deg(face) + angle, abs=1e-3)
    assert np.abs(after.pixels - upright).mean() < 3
    assert np.corrcoef(after.pixels.ravel(), upright.ravel())[0, 1] > 0.995


@pytest.mark.parametrize("angle", [-30, 25])
def test_eyes_found_in_the_crop_of_a_turned_picture_are_level(mtcnn, astronaut_face, angle):
    picture, _ = turned(astronaut(), angle, astronaut_face.box.centre)
    [face] = mtcnn.detect(picture)
    assert abs(eye_angle_deg(face) - angle) < 10  # it was turned indeed
    crop = align(picture, face, margin=1.6, size=224)
    [again] = mtcnn.detect(crop.pixels)
    assert abs(eye_angle_deg(again)) < 5
    assert np.hypot(again.box.centre[0] - 112, again.box.centre[1] - 112) < 20


def test_no_pixel_is_invented_at_the_edge_of_the_picture():
    # A white rim one pixel wide: were it replicated, the crop would hold a wide white band.
    picture = np.full((120, 160, 3), 100, np.uint8)
    picture[[0, -1]] = picture[:, [0, -1]] = 255
    crop = align(picture, face_at(150, 110, 110), margin=2.7, size=240)  # the square x 40 to 160, y 0 to 120, twice
    assert crop.centre == (100, 60)
    expected = np.full((240, 240, 3), 100, np.uint8)
    expected[[0, -1]] = expected[:, -1] = 255
    inside = np.ones(240, bool)
    inside[[1, 2, -3, -2]] = False  # where interpolation mixes the two
    np.testing.assert_array_equal(crop.pixels[np.ix_(inside, inside)], expected[np.ix_(inside, inside)])


@pytest.mark.parametrize("angle", [-30, 10, 45])
def test_turned_crop_touches_the_edge_of_the_picture_with_its_corners_alone(angle):
    picture = np.full((120, 160, 3), 100, np.uint8)
    picture[[0, -1]] = picture[:, [0, -1]] = 255
    crop = align(picture, face_at(150, 110, 110, angle_deg=angle), margin=2.7, size=240)
    assert crop.pixels.min() == 100  # black corners would be darker
    assert 0 < (crop.pixels > 200).mean() < 0.01


@settings(deadline=None, max_examples=60)
@given(
    x=st.floats(-20, 170),
    y=st.floats(-20, 140),
    face_width=st.floats(4, 200),
    angle=st.floats(-90, 90),
    size=st.integers(32, 96),
)
def test_crop_holds_no_value_that_the_picture_does_not_span(x, y, face_width, angle, size):
    picture = np.random.default_rng(5).integers(90, 161, (120, 150, 3), dtype=np.uint8)
    pixels = align(picture, face_at(x, y, face_width, angle_deg=angle), margin=2.7, size=size).pixels
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    assert 89 <= pixels.min() <= pixels.max() <= 161


@pytest.mark.parametrize(("shrink", "angle"), [(1.5, 0), (2.0, 0), (3.7, 0), (5.3, 17), (8.0, 45)])
def test_screen_pattern_shrinks_to_grey_and_not_to_moire(shrink, angle):
    board = (np.indices((900, 900)).sum(axis=0) % 2 * 255).astype(np.uint8)
    picture = np.repeat(board[..., None], 3, axis=2)
    pixels = align(picture, face_at(450, 450, 64 * shrink, angle_deg=angle), margin=1.0, size=64).pixels
    assert abs(pixels.mean() - 127.5) < 2
    assert pixels.std() < 20  # sampled without averaging it is about 100


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 40), (400, 3)])
def test_tiny_pictures_are_cut(width, height):
    picture = np.full((height, width, 3), 77, np.uint8)
    crop = align(picture, face_at(width / 2, height / 2, 5, angle_deg=20), margin=2.7, size=32)
    assert (crop.pixels == 77).all()


@pytest.mark.parametrize("face_px", [32, 300])
def test_only_the_surroundings_of_the_face_are_resampled(face_px):
    # A picture of three terabytes that takes one pixel of memory: code that copied it whole would fail.
    picture = np.broadcast_to(np.array([10, 20, 30], np.uint8), (1_000_000, 1_000_000, 3))
    crop = align(picture, face_at(900_000, 300_000, face_px, angle_deg=10), margin=2.0, size=64)
    assert (crop.pixels == [10, 20, 30]).all()


def test_crop_of_a_very_wide_picture_is_exact():
    picture = np.zeros((300, 40_000, 3), np.uint8)
    picture[:, 39_000:] = np.random.default_rng(6).integers(0, 256, (300, 1000, 3), dtype=np.uint8)
    crop = align(picture, face_at(39_500, 150, 32), margin=2.0, size=64)
    np.testing.assert_array_equal(crop.pixels, picture[118:182, 39_468:39_532])


def test_large_face_in_a_large_picture_is_averaged_down():
    picture = np.zeros((3000, 4000, 3), np.uint8)
    picture[:, 2000:] = 200
    crop = align(picture, face_at(2000, 1500, 2900), margin=2.7, size=64)
    assert crop.side_px == 3000
    assert (crop.pixels[:, :31] == 0).all()
    assert (crop.pixels[:, 33:] == 200).all()


def test_picture_is_left_as_it_was():
    picture = np.random.default_rng(7).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    before = picture.copy()
    crop = align(picture, face_at(45, 45, 32), margin=2.0, size=64)
    crop.pixels[:] = 0
    np.testing.assert_array_equal(picture, before)


def test_cut_of_the_square_is_what_align_gives():
    face = face_at(60, 50, 30, angle_deg=15)
    square = crop_square(face, 150, 120, 2.0)
    picture = np.random.default_rng(8).integers(0, 256, (120, 150, 3), dtype=np.uint8)
    np.testing.assert_array_equal(cut(picture, square, 48), align(picture, face, margin=2.0, size=48).pixels)
