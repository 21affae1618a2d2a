import cv2
import numpy as np
import pytest

from liveness_core.alignment import align
from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.detection.tracking import FaceTracker
from liveness_core.preprocess import PreprocessSpec
from liveness_core.video import VideoReader
from liveness_training.data.crops import CropSet, found_report, prepare, prepare_all
from liveness_training.data.cutting import Cutter, Recipe, expand, read_picture
from liveness_training.data.datasets import Source
from liveness_training.data.samples import DataError, Sample
from support.pictures import astronaut, encoded, no_face
from support.videos import write_video

HEADER = "path,domain,label,attack,subject,sequence\n"
SPEC = PreprocessSpec(size=64)
SMALL = cv2.resize(astronaut()[:256, 100:356], (128, 128), interpolation=cv2.INTER_AREA)
"""One face."""


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


def cut(root, cache, preprocess=SPEC, **options):
    return prepare(
        root, cache, **{"preprocess": preprocess, "detector": DetectorSpec(), "views": 2, "workers": 1} | options
    )


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
    root = write(tmp_path / "data", face=SMALL)
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


def test_file_that_is_not_there_is_named_before_any_crop_is_cut(tmp_path):
    root = write(tmp_path / "data", face=SMALL, other=SMALL)
    (root / "other.png").unlink()
    with pytest.raises(DataError, match=r"data/other\.png does not exist"):
        cut(root, tmp_path / "cache")
    assert [file.read_bytes() for file in tmp_path.glob("cache/*/found.jsonl")] == [b""]
    (root / "other.png").write_bytes(encoded(no_face()[::4, ::4], "PNG"))
    crops = cut(root, tmp_path / "cache")
    assert [sample.path for sample in crops.samples] == ["face.png"]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_files_that_cannot_be_decoded_are_missed_and_named_each_time(tmp_path, caplog, workers):
    root = write(tmp_path / "data", face=SMALL, junk=SMALL, empty=SMALL)
    (root / "junk.png").write_bytes(b"not a picture")
    (root / "empty.png").write_bytes(b"")
    write_video(root / "clip.avi", [SMALL] * 2)
    (root / "clip.avi").write_bytes((root / "clip.avi").read_bytes()[:3000])
    with (root / "index.csv").open("a") as index:
        index.write("clip.avi,office,spoof,replay,x,\n")
    for _ in ("cut", "read back"):
        caplog.clear()
        crops = cut(root, tmp_path / "cache", workers=workers, clip=ClipSpec(frames=3))
        assert [sample.path for sample in crops.samples] == ["face.png"]
        assert [sample.key for sample in crops.missed] == [
            *("office/junk.png", "office/empty.png"),
            *("office/clip.avi#0", "office/clip.avi#1", "office/clip.avi#2"),
        ]
        assert len(caplog.messages) == 1
        assert "cannot be decoded and count as without a face: junk.png, empty.png, clip.avi." in caplog.messages[0]


def test_videos_become_the_frames_that_the_clip_spec_names(tmp_path):
    # Frame k is darker than the one before it; MPEG-4 keeps the difference.
    frames = [np.clip(SMALL * (1 - 0.04 * place), 0, 255).astype(np.uint8) for place in range(11)]
    root = write(tmp_path / "data", face=SMALL)
    write_video(root / "v/clip.avi", frames)
    with (root / "index.csv").open("a") as index:
        index.write("v/clip.avi,office,spoof,replay,anna,\n")
    crops = cut(root, tmp_path / "cache", clip=ClipSpec(frames=4))
    assert crops.missed == ()
    clip = [sample for sample in crops.samples if sample.is_video]
    assert [(sample.path, sample.frame) for sample in clip] == [("v/clip.avi", place) for place in range(4)]
    assert {(sample.sequence, sample.species, sample.subject) for sample in clip} == {("v/clip.avi", "replay", "anna")}
    assert {sample.recording for sample in clip} == {"office/replay/v/clip.avi"}
    tracker = FaceTracker(create_detector(DetectorSpec()))
    with (root / "v/clip.avi").open("rb") as file:
        for row, frame in enumerate(VideoReader(file).read(ClipSpec(frames=4).positions(11)), start=1):
            [face] = tracker.find(frame.pixels, frame.position)
            expected = align(frame.pixels, face, margin=SPEC.margin, size=SPEC.size).pixels
            np.testing.assert_array_equal(crops.crops_MVSS3[row, 0], expected)


def test_a_frame_without_a_face_is_replaced_by_a_neighbour_in_its_part(tmp_path):
    blank = np.full_like(SMALL, 90)
    frames = [SMALL] * 24
    frames[3:5] = [blank] * 2  # the middles of the three parts are 4, 12 and 20
    frames[8:16] = [blank] * 8
    root = tmp_path / "data"
    write_video(root / "clip.avi", frames, codec="mjpeg")
    (root / "index.csv").write_text(HEADER + "clip.avi,office,live,live,anna,\n")
    crops = cut(root, tmp_path / "cache", clip=ClipSpec(frames=3))
    assert [sample.frame for sample in crops.samples] == [0, 2]
    assert [sample.frame for sample in crops.missed] == [1]


def test_video_of_fewer_frames_gives_each_of_them_once(tmp_path):
    root = tmp_path / "data"
    write_video(root / "clip.mp4", [SMALL, SMALL // 2, SMALL // 4 * 3])
    (root / "index.csv").write_text(HEADER + "clip.mp4,office,live,live,anna,visit\n")
    crops = cut(root, tmp_path / "cache", clip=ClipSpec(frames=8))
    assert [sample.frame for sample in crops.samples] == [0, 3, 5]
    assert {sample.sequence for sample in crops.samples} == {"visit"}
    assert crops.missed == ()
    again = cut(root, tmp_path / "cache", clip=ClipSpec(frames=8))
    assert again.samples == crops.samples
    np.testing.assert_array_equal(again.crops_MVSS3, crops.crops_MVSS3)


def test_frames_of_a_recording_are_cut_at_the_same_margins(tmp_path):
    # In the other views the face must not jump in size from frame to frame: that is no movement of a person.
    root = tmp_path / "data"
    write_video(root / "clip.mp4", [SMALL] * 4)
    rows = ["clip.mp4,office,live,live,anna,\n"]
    for name in ("one", "two"):
        (root / f"{name}.png").write_bytes(encoded(SMALL, "PNG"))
        rows.append(f"{name}.png,office,live,live,anna,visit\n")
    (root / "index.csv").write_text(HEADER + "".join(rows))
    crops = cut(root, tmp_path / "cache", clip=ClipSpec(frames=2), views=3).crops_MVSS3
    views = crops.astype(float)
    assert np.abs(views[0] - views[1]).mean(axis=(1, 2, 3)).max() < 4  # but for what compression changed
    np.testing.assert_array_equal(crops[2], crops[3])
    assert np.abs(views[0, 1:] - views[2, 1:]).mean(axis=(1, 2, 3)).max() > 8


def test_video_that_does_not_say_how_it_is_turned_is_turned_as_its_sample_says(tmp_path):
    write_video(tmp_path / "clip.avi", [np.rot90(SMALL, 2)] * 2)
    sample = Sample("clip.avi", "office", True, "live", "anna", "", turn_deg=180)
    cutter = Cutter(Recipe(tmp_path, SPEC, DetectorSpec(), ClipSpec(frames=2), 1))
    turned = cutter(expand([sample], ClipSpec(frames=2)))
    assert turned.found == (True, True)
    expected = align(SMALL, create_detector(DetectorSpec()).detect(SMALL)[0], margin=SPEC.margin, size=SPEC.size)
    assert np.abs(turned.crops_MVSS3[0, 0].astype(float) - expected.pixels).mean() < 12


def test_crops_do_not_depend_on_workers_or_chunks(tmp_path):
    root = write(tmp_path / "data", **{f"face{place}": SMALL // (place + 1) for place in range(5)})
    alone = cut(root, tmp_path / "alone")
    many = cut(root, tmp_path / "many", workers=2, chunk=2)
    assert many.samples == alone.samples
    np.testing.assert_array_equal(many.crops_MVSS3, alone.crops_MVSS3)


def test_labels_and_scales_can_change_without_cutting_again(tmp_path):
    root = write(tmp_path / "data", face=SMALL)
    before = np.array(cut(root, tmp_path / "cache").crops_MVSS3)
    (root / "face.png").unlink()
    (root / "index.csv").write_text(HEADER + "face.png,hall,spoof,print,face,\n")
    crops = cut(root, tmp_path / "cache", preprocess=PreprocessSpec(size=64, mean=(0.4, 0.4, 0.4)))
    assert crops.samples[0].species == "print"
    np.testing.assert_array_equal(crops.crops_MVSS3, before)


def test_several_data_sets_become_one(tmp_path):
    roots = [write(tmp_path / "a", face=SMALL), write(tmp_path / "b", nobody=no_face()[::4, ::4], print_1=SMALL // 2)]
    sources = [Source("index", root) for root in roots]
    settings = {"preprocess": SPEC, "detector": DetectorSpec(), "views": 2, "workers": 1}
    crops = prepare_all(sources, tmp_path / "cache", **settings)
    assert [sample.path for sample in crops.samples] == ["face.png", "print_1.png"]
    assert [sample.path for sample in crops.missed] == ["nobody.png"]
    for row, root in enumerate(roots):
        np.testing.assert_array_equal(crops.crops_MVSS3[row, 1], cut(root, tmp_path / "cache").crops_MVSS3[0, 1])


def test_data_sets_that_share_a_picture_are_refused_before_anything_is_cut(tmp_path):
    sources = [Source("index", write(tmp_path / name, face=SMALL)) for name in ("a", "b")]
    with pytest.raises(DataError, match=r"office/face\.png is in two of the data folders"):
        prepare_all(sources, tmp_path / "cache", preprocess=SPEC, detector=DetectorSpec(), workers=1)
    assert not (tmp_path / "cache").exists()


def test_report_counts_faces_by_domain_split_and_label_and_names_recordings_without_any():
    def sample(path, live=True, split=None, sequence=""):
        return Sample(path, "office", live, "live" if live else "print", "anna", sequence, split)

    found = (sample("1.jpg", sequence="visit"), sample("2.jpg", live=False), sample("3.jpg", split="test"))
    lost = [sample(f"lost{place:02}.jpg", live=False) for place in range(12)]
    missed = (sample("4.jpg", sequence="visit"), *lost)
    report = found_report(CropSet(found, missed, np.zeros((3, 1, 8, 8, 3), np.uint8))).splitlines()
    assert [line.split() for line in report[1:4]] == [
        ["office", "-", "live", "2", "1", "1", "(50.0", "%)"],
        ["office", "-", "spoof", "13", "1", "12", "(92.3", "%)"],
        ["office", "test", "live", "1", "1", "0", "(0.0", "%)"],
    ]
    assert report[4] == "recordings without any face: 12"  # of `visit` one frame has a face
    assert report[5:] == [*(f"  office/print/lost{place:02}.jpg" for place in range(10)), "  and 2 more"]


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
