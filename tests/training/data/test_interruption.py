"""`prepare` that is stopped, killed, or started twice."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from liveness_core.clips import ClipSpec
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.data.crop_folder import CropFolder, Done, Filling
from liveness_training.data.crops import prepare
from liveness_training.data.cutting import CutChunk, Recipe, chunks, expand
from liveness_training.data.samples import DataError, Sample
from liveness_training.data.workers import cut_in_order
from liveness_training.errors import TrainingError
from support.pictures import astronaut, encoded, no_face

SIZE, VIEWS, FACES = 32, 2, 9
BLOCKING = "face6.png"  # in the fourth chunk of two
PICTURE = cv2.resize(astronaut()[:256, 100:356], (96, 96), interpolation=cv2.INTER_AREA)
SCRIPT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell would ignore it
from pathlib import Path
from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.data.crops import prepare
root, cache, workers = sys.argv[1:]
options = {"preprocess": PreprocessSpec(size=32), "detector": DetectorSpec(), "views": 2, "chunk": 2}
try:
    prepare(Path(root), Path(cache), workers=int(workers), **options)
except KeyboardInterrupt:
    sys.exit(130)
"""


def cut(root, cache, **options):
    defaults = {"preprocess": PreprocessSpec(size=SIZE), "detector": DetectorSpec(), "views": VIEWS, "chunk": 2}
    return prepare(root, cache, **{**defaults, "workers": 1, **options})


def picture(number):
    # The second has no face: rows of crops and samples do not run in step.
    return encoded(no_face()[::4, ::4] if number == 1 else PICTURE - np.uint8(number), "PNG")


def contents(cache):
    return {file.relative_to(cache).as_posix(): file.read_bytes() for file in cache.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Data of nine pictures, and the cache of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    root = folder / "data"
    root.mkdir()
    rows = ["path,domain,label,attack,subject,sequence"]
    rows.extend(f"face{number}.png,office,live,live,face{number}," for number in range(FACES))
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    restore(root)
    cut(root, folder / "cache")
    return root, contents(folder / "cache")


def restore(root):
    for number in range(FACES):
        (root / f"face{number}.png").unlink(missing_ok=True)
        (root / f"face{number}.png").write_bytes(picture(number))


@contextmanager
def blocked(root, cache, workers):
    """A process that prepares, at the time when it has kept three chunks and waits for a picture that does not come."""
    (root / BLOCKING).unlink()
    os.mkfifo(root / BLOCKING)
    process = start(root, cache, workers)
    try:
        deadline = time.monotonic() + 60
        while sum(file.read_bytes().count(b"\n") for file in cache.glob("*/found.jsonl")) < 3:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        restore(root)


def start(root, cache, workers):
    command = [sys.executable, "-c", SCRIPT, str(root), str(cache), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_run_goes_on_and_ends_as_if_it_had_not_been_killed(whole, tmp_path, workers):
    root, expected = whole
    cache = tmp_path / "cache"
    with blocked(root, cache, workers) as process:
        process.kill()
        process.communicate(timeout=30)  # ends when the workers, which share its output, have ended too
    [found] = cache.glob("*/found.jsonl")
    assert found.read_bytes().count(b"\n") == 3
    with found.open("ab") as file:
        file.write(b'{"found": [true, fal')  # killed while it wrote
    crops = np.lib.format.open_memmap(found.with_name("crops.npy"), "r+")
    crops[5 : FACES - 1] = 77  # of three chunks, one picture without a face, the first five rows count
    crops.flush()
    for number in range(6):
        (root / f"face{number}.png").write_bytes(b"would be missed if it were cut again")
    try:
        cut(root, cache)
    finally:
        restore(root)
    assert contents(cache) == expected


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_interrupt_says_how_to_go_on_and_shows_no_traces(whole, tmp_path, workers):
    root, expected = whole
    cache = tmp_path / "cache"
    with blocked(root, cache, workers) as process:
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130
    assert said.strip() == "interrupted after 6 of 9 frames: the same command goes on from there"
    cut(root, cache)
    assert contents(cache) == expected


def test_second_process_waits_for_the_first_and_takes_what_it_made(whole, tmp_path):
    root, expected = whole
    cache = tmp_path / "cache"
    with blocked(root, cache, 1) as first:
        second = start(root, cache, 1)
        try:
            assert "waiting for it" in second.stderr.readline()
            (root / BLOCKING).write_bytes(picture(6))  # comes now
            assert first.wait(timeout=30) == 0
            assert second.wait(timeout=30) == 0
        finally:
            second.kill()
            second.communicate()
    assert contents(cache) == expected


def test_crops_that_were_damaged_are_cut_again(whole, tmp_path):
    root, expected = whole
    cut(root, tmp_path / "cache")
    [crops] = (tmp_path / "cache").glob("*/crops.npy")
    for damage in (crops.unlink, lambda: os.truncate(crops, 1000), lambda: crops.write_bytes(b"")):
        damage()
        cut(root, tmp_path / "cache")
        assert contents(tmp_path / "cache") == expected


LINES = (
    b"nonsense\n",
    *(
        pytest.param(line, marks=pytest.mark.slow)
        for line in (b"{}\n", b'{"found": [2], "unreadable": []}\n', b"\xff\n")
    ),
)


@pytest.mark.parametrize("line", LINES)
def test_lines_that_cannot_be_trusted_end_what_is_done(whole, tmp_path, line):
    root, expected = whole
    cut(root, tmp_path / "cache")
    [found] = (tmp_path / "cache").glob("*/found.jsonl")
    lines = found.read_bytes().splitlines(keepends=True)
    found.write_bytes(b"".join([lines[0], line, *lines[1:]]))
    cut(root, tmp_path / "cache")
    assert contents(tmp_path / "cache") == expected


@pytest.fixture
def waiting(whole):
    """Chunks being cut by two workers, the first one done, one that waits for its picture, and their root."""
    root, _ = whole
    samples = [Sample(f"face{number}.png", "office", True, "live", "a", "") for number in range(FACES)]
    recipe = Recipe(root, PreprocessSpec(size=SIZE), DetectorSpec(), ClipSpec(), VIEWS)
    (root / BLOCKING).unlink()
    os.mkfifo(root / BLOCKING)
    with closing(cut_in_order(chunks(samples, 2), recipe, 2)) as results:
        next(results)
        yield results, root
    restore(root)


@pytest.mark.slow
def test_worker_that_dies_is_an_error_and_no_hang(waiting):
    results, _ = waiting
    for worker in multiprocessing.active_children():
        worker.kill()
    with pytest.raises(TrainingError, match="a worker process died"):
        list(results)


@pytest.mark.slow
def test_interrupt_is_no_matter_of_the_workers(waiting):
    results, root = waiting
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGINT)
    (root / BLOCKING).write_bytes(picture(6))  # comes now
    assert [result.found for result in results] == [(True, True), (True, True), (True, True), (True,)]


def test_full_disk_is_told_before_anything_is_cut(whole, tmp_path):
    root, _ = whole
    with pytest.raises(DataError, match=r"cache/\w+: the crops need up to [\d,.]+ GiB and [\d,.]+ GiB are free"):
        cut(root, tmp_path / "cache", views=10**9)
    assert not list(tmp_path.glob("cache/*/crops.*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no disk that is always full")
def test_disk_that_fills_up_on_the_way_is_told(tmp_path):
    chunk = CutChunk((True,), np.zeros((1, VIEWS, SIZE, SIZE, 3), np.uint8), ())
    with (
        Path("/dev/full").open("r+b", buffering=0) as full,
        (tmp_path / "found").open("ab", buffering=0) as found,
        pytest.raises(DataError, match=r"/dev/full cannot be written: No space left .* the same command goes on"),
    ):
        Filling(Done(), full, found, 128).append(chunk)
    assert (tmp_path / "found").read_bytes() == b""


def test_line_that_names_more_samples_than_there_are_belongs_to_other_data(tmp_path):
    folder = CropFolder(tmp_path / "crops", (2, 1, 4, 4, 3))
    with folder.filling() as filling:
        filling.append(CutChunk((True, None), np.ones((1, 1, 4, 4, 3), np.uint8), ("x",)))
    done = folder.done()
    assert (done.found, done.unreadable, done.faces) == ((True, None), ("x",), 1)
    assert folder.crops(done).shape == (1, 1, 4, 4, 3)
    with (tmp_path / "crops/found.jsonl").open("a") as file:
        file.write(json.dumps({"found": [True], "unreadable": []}) + "\n")
    assert folder.done() == Done()


def test_frames_of_a_video_stay_in_one_chunk():
    names = ["1.jpg", "a.mp4", "2.jpg", "b.mov", "3.jpg"]
    samples = expand([Sample(name, "office", True, "live", name, "") for name in names], ClipSpec(frames=3))
    cut_up = [[f"{sample.path}#{sample.frame}" for sample in chunk] for chunk in chunks(samples, 2)]
    assert cut_up == [
        ["1.jpg#None", "a.mp4#0", "a.mp4#1", "a.mp4#2"],
        ["2.jpg#None", "b.mov#0", "b.mov#1", "b.mov#2"],
        ["3.jpg#None"],
    ]


def test_frames_that_are_taken_apart_are_not_taken_apart_again():
    once = expand([Sample("a.mp4", "office", True, "live", "a", "")], ClipSpec(frames=3))
    assert expand(once, ClipSpec(frames=2)) == once
