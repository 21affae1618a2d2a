import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from liveness_training.cli import app
from liveness_training.data.simulation import SIMULATIONS, camera, scene, screens, simulate
from liveness_training.data.simulation.sheet import contact_sheet
from support.pictures import astronaut, encoded, no_face

FACE = cv2.resize(astronaut()[0:280, 85:365], (224, 224), interpolation=cv2.INTER_AREA)
KINDS = sorted(SIMULATIONS)


def attack(kind, seed, crop=FACE):
    return simulate(kind, crop, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_an_attack_is_a_picture_of_the_same_shape_and_depends_on_the_seed_alone(kind):
    before = FACE.copy()
    for seed in range(12):
        made = attack(kind, seed)
        assert made.shape == FACE.shape
        assert made.dtype == np.uint8
        assert 5 < made.mean() < 250
        assert made.std() > 5
    np.testing.assert_array_equal(attack(kind, 7), attack(kind, 7))
    assert (attack(kind, 7) != attack(kind, 8)).any()
    np.testing.assert_array_equal(FACE, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [64, *(pytest.param(size, marks=pytest.mark.slow) for size in (128, 224))])
def test_the_face_stays_where_it_is_and_as_large_as_it_was(kind, size):
    """Neither place nor size may tell an attack."""
    crop = cv2.resize(FACE, (size, size), interpolation=cv2.INTER_AREA)
    middle = slice(int(size * 0.3), int(size * 0.7))
    original = cv2.GaussianBlur(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), size / 40)
    found = []
    for seed in range(30):
        grey = cv2.GaussianBlur(
            cv2.cvtColor(attack(kind, seed, crop), cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), size / 40
        )
        match = cv2.matchTemplate(grey, np.ascontiguousarray(original[middle, middle]), cv2.TM_CCOEFF_NORMED)
        _, likeness, _, (x, y) = cv2.minMaxLoc(match)
        found.append((likeness, np.hypot(x - middle.start, y - middle.start) / size))
    likeness, shift = np.median(found, axis=0)
    assert likeness > 0.85
    assert shift < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_grey_source_stays_grey(kind):
    grey = np.repeat(cv2.cvtColor(FACE, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    for seed in range(5):
        assert np.ptp(attack(kind, seed, grey), axis=2).max() == 0
        assert np.ptp(attack(kind, seed), axis=2).max() > 0


def spectrum(picture):
    grey = picture.astype(np.float64).mean(axis=2)
    window = np.outer(np.hanning(len(grey)), np.hanning(len(grey)))
    return np.abs(np.fft.fftshift(np.fft.fft2((grey - grey.mean()) * window)))


def test_a_grid_finer_than_the_cameras_pixels_comes_out_as_moire():
    """A pixel pitch just off the camera's gives a slow pattern, whose period is that of the beat."""
    size, pitch = 256, 0.95
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)

    class Fixed:
        def __init__(self):
            self.left = [pitch, 0.0, 0.5, 0.02]

        def uniform(self, *_):
            return self.left.pop(0)

        def random(self):
            return 1.0

    grid = screens._grid(x, y, Fixed(), 1.0)[..., 0]
    line = np.abs(np.fft.rfft(grid.mean(axis=0) - grid.mean()))
    beat = abs(1 / pitch - round(1 / pitch))  # cycles a pixel, folded at the sampling rate
    assert np.argmax(line) == pytest.approx(beat * size, abs=1.5)


def test_panels_show_regular_patterns_that_the_source_has_not():
    centre = 112
    ring = np.hypot(*(np.mgrid[0:224, 0:224] - centre))
    high = (ring > 25) & (ring < 110)

    def peak(picture):
        found = spectrum(picture)[high]
        return found.max() / np.median(found)

    # A smooth source, so that every line is the panel's.
    smooth = cv2.GaussianBlur(FACE, (0, 0), 6)
    panels = [peak(attack("simulated_replay", seed, smooth)) for seed in range(20)]
    assert np.percentile(panels, 75) > 2 * peak(smooth)


def test_edges_are_in_sight_in_some_pictures_and_not_in_others():
    drawn = [scene.draw_edges(np.random.default_rng(seed)) for seed in range(200)]
    in_sight = [edges.left > 0 or edges.top > 0 or edges.right < 1 or edges.bottom < 1 for edges in drawn]
    assert 0.4 < np.mean(in_sight) < 0.75
    for edges in drawn:
        assert edges.left <= 0.18
        assert edges.right >= 0.82


def test_the_second_camera_keeps_brightness_in_range():
    grey = np.full((64, 64, 3), 0.5, np.float32)
    means = [camera.recapture(grey, np.random.default_rng(seed)).mean() for seed in range(50)]
    assert min(means) > 80
    assert max(means) < 165
    assert np.ptp(means) > 20


HEADER = "path,domain,label,attack,subject,sequence\n"


def test_a_row_is_the_live_picture_and_its_attacks():
    crops = [np.full((32, 32, 3), level, np.uint8) for level in (90, 200)]
    sheet = contact_sheet(crops, seed=1, columns=2)
    assert sheet.shape == (2 * 40, 5 * 40, 3)
    np.testing.assert_array_equal(sheet[4:36, 4:36], crops[0])
    np.testing.assert_array_equal(sheet[44:76, 4:36], crops[1])
    np.testing.assert_array_equal(sheet, contact_sheet(crops, seed=1, columns=2))
    assert (sheet != contact_sheet(crops, seed=2, columns=2)).any()


@pytest.fixture
def data(tmp_path):
    rows = []
    for name, picture in {"anna": astronaut(), "cup": no_face()}.items():
        (tmp_path / f"{name}.png").write_bytes(encoded(picture, "PNG"))
        rows.append(f"{name}.png,office,live,live,{name},\n")
    (tmp_path / "index.csv").write_text(HEADER + "".join(rows))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


def test_the_command_writes_a_sheet_of_those_with_a_face(data, tmp_path):
    result = run(data, "--out", tmp_path / "sheet.png", "--size", 64, "--columns", 3)
    assert result.exit_code == 0, result.output
    assert "1 people" in result.output
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (72, 7 * 72, 3)


def test_a_sheet_that_cannot_be_made_says_why(data, tmp_path):
    result = run(data, "--out", tmp_path / "nowhere" / "sheet.png", "--size", 64)
    assert result.exit_code == 2
    assert "cannot be written" in result.output
    (data / "index.csv").write_text(HEADER + "cup.png,office,live,live,cup,\n")
    result = run(data, "--out", tmp_path / "sheet.png")
    assert result.exit_code == 2
    assert "no live picture with a face" in result.output
