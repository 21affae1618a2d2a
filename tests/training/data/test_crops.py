import cv2
import numpy as np
import pytest

from liveness_core.alignment import align
from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.preprocess import PreprocessSpec
from liveness_training.data.crops import prepare, read_picture
from liveness_training.data.samples import DataError
from support.pictures import astronaut, encoded, no_face

HEADER = "path,domain,label,attack,subject,sequence\n"
SPEC = PreprocessSpec(size=64)


def write(root, **pictures):
    """Write PNG pictures and their index, one row each; those whose name starts with `print` are attacks."""
    root.mkdir(parents=True)
    rows = []
    for name, picture in pictures.items():
        (root / f"{name}.png").write_bytes(encoded(picture, "PNG"))
        kind = "spoof,print" if name.startswith("print") else "live,live"
        rows.append(f"{name}.png,office,{kind},{name},\n")
    (root / "index.csv").write_text(HEADER + "".join(rows))
    return root


def cut(root, cache, preprocess=SPEC, detector=None, views=2):
    detector = detector or DetectorSpec()
    return prepare(root, cache, preprocess=preprocess, detector=detector, views=views, workers=1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    pair = np.zeros((512, 900, 3), np.uint8)
    pair[:384, :384] = cv2.resize(astronaut(), (384, 384), interpolation=cv2.INTER_AREA)
    pair[:, 388:] = astronaut()
    root = write(folder / "data", face=astronaut(), nobody=no_face()[::2, ::2], print_pair=pair)
    return root, folder / "cache", cut(root, folder / "cache", views=3)


def test_pictures_without_a_face_are_counted_as_missed(prepared):
    _, _, crops = prepared
    assert [sample.path for sample in crops.samples] == ["face.png", "print_pair.png"]
    assert [sample.path for sample in crops.missed] == ["nobody.png"]
    assert crops.crops_MVSS3.shape == (2, 3, 64, 64, 3)
    assert crops.crops_MVSS3.dtype == np.uint8


def test_first_view_is_the_crop_that_the_service_cuts(prepared):
    root, _, crops = prepared
    detector = create_detector(DetectorSpec())
    for row, sample in enumerate(crops.samples):
        picture = cv2.cvtColor(cv2.imread(str(root / sample.path)), cv2.COLOR_BGR2RGB)
        crop = align(picture, detector.detect(picture)[0], margin=SPEC.margin, size=SPEC.size)
        np.testing.assert_array_equal(crops.crops_MVSS3[row, 0], crop.pixels)
    assert len(detector.detect(picture)) == 2  # of which the larger one counts
    face = detector.detect(astronaut())[0]
    expected = align(astronaut(), face, margin=SPEC.margin, size=SPEC.size)
    np.testing.assert_array_equal(crops.crops_MVSS3[0, 0], expected.pixels)


def test_other_views_are_the_same_face_at_other_margins(prepared):
    _, _, crops = prepared
    views = crops.crops_MVSS3[0].astype(float)
    assert all(np.abs(views[first] - views[second]).mean() > 1 for first, second in ((0, 1), (0, 2), (1, 2)))
    face = create_detector(DetectorSpec()).detect(astronaut())[0]
    margins = np.arange(1.1, 3.31, 0.02)
    candidates = [align(astronaut(), face, margin=margin, size=64).pixels.astype(float) for margin in margins]
    for view in views[1:]:
        assert min(np.abs(candidate - view).mean() for candidate in candidates) < 4


def test_second_call_reads_what_the_first_cut(prepared, tmp_path):
    root = write(tmp_path / "data", face=astronaut()[:256, 100:356], nobody=no_face()[::4, ::4])
    first = cut(root, tmp_path / "cache")
    before = np.array(first.crops_MVSS3)
    for picture in root.glob("*.png"):
        picture.unlink()  # so that nothing could be cut
    second = cut(root, tmp_path / "cache")
    np.testing.assert_array_equal(second.crops_MVSS3, before)
    assert second.samples == first.samples
    assert second.missed == first.missed
    # The same folder under another margin is other crops, which have to be cut.
    with pytest.raises(DataError, match=r"face\.png"):
        cut(root, tmp_path / "cache", preprocess=PreprocessSpec(size=64, margin=2.0))


def test_caches_of_different_settings_lie_side_by_side(tmp_path):
    root = write(tmp_path / "data", face=astronaut()[:256, 100:356])
    wide = np.array(cut(root, tmp_path / "cache").crops_MVSS3)
    tight = cut(root, tmp_path / "cache", preprocess=PreprocessSpec(size=64, margin=1.5)).crops_MVSS3
    assert np.abs(wide[:, 0].astype(float) - tight[:, 0]).mean() > 5
    np.testing.assert_array_equal(cut(root, tmp_path / "cache").crops_MVSS3, wide)


def test_crops_are_the_same_whoever_cuts_them(prepared, tmp_path):
    _, _, crops = prepared
    root = write(tmp_path / "copy", face=astronaut())
    np.testing.assert_array_equal(cut(root, tmp_path / "cache", views=3).crops_MVSS3[0], crops.crops_MVSS3[0])


def test_data_without_any_face_are_all_missed(tmp_path):
    crops = cut(write(tmp_path / "data", nobody=np.zeros((64, 64, 3), np.uint8)), tmp_path / "cache")
    assert crops.samples == ()
    assert len(crops.missed) == 1
    assert crops.crops_MVSS3.shape == (0, 2, 64, 64, 3)


@pytest.mark.parametrize("content", [None, b"not a picture"])
def test_unreadable_picture_is_named_and_leaves_no_cache_that_counts(tmp_path, content):
    root = write(tmp_path / "data", face=astronaut()[:256, 100:356], other=astronaut()[:256, 100:356])
    (root / "other.png").unlink()
    if content is not None:
        (root / "other.png").write_bytes(content)
    with pytest.raises(DataError, match=r"other\.png cannot be read"):
        cut(root, tmp_path / "cache")
    (root / "other.png").write_bytes(encoded(no_face()[::4, ::4], "PNG"))
    crops = cut(root, tmp_path / "cache")
    assert [sample.path for sample in crops.samples] == ["face.png"]


def test_pictures_are_read_upright_in_rgb(tmp_path):
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, :30] = (250, 10, 10)  # red at the top left
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # turn clockwise to view
    (tmp_path / "turned.jpg").write_bytes(encoded(np.rot90(picture), "JPEG", quality=95, exif=exif))
    upright = read_picture(tmp_path / "turned.jpg")
    assert upright.shape == (40, 60, 3)
    assert np.abs(upright.astype(int) - picture).mean() < 5


def test_grey_and_transparent_pictures_become_rgb(tmp_path):
    (tmp_path / "grey.png").write_bytes(encoded(np.full((8, 9), 90, np.uint8), "PNG"))
    (tmp_path / "rgba.png").write_bytes(encoded(np.full((8, 9, 4), (10, 20, 30, 255), np.uint8), "PNG"))
    assert (read_picture(tmp_path / "grey.png") == 90).all()
    np.testing.assert_array_equal(read_picture(tmp_path / "rgba.png")[0, 0], [10, 20, 30])
