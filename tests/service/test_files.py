import asyncio
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from liveness_service.decoding.kinds import image_kind
from liveness_service.errors import UnreadableMediaError
from liveness_service.files import NoFilesError, find_files, read_media, score_files
from liveness_service.submission import Endpoint, FacePolicy, ScoreOptions
from support.clips import person_clip
from support.pictures import astronaut, encoded

PHOTO = encoded(astronaut())


@pytest.fixture
def tree(tmp_path):
    for name in ("b.jpg", "a.png", "notes.txt", ".hidden.jpg", "Thumbs.db", "in/c.jpg", "in/deep/d.jpg", ".git/e.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    return tmp_path


def found(tree, given=".", **options):
    return [str(Path(name).relative_to(tree)) for name in find_files(str(tree / given), **options)]


def test_a_folder_stands_for_its_files_in_the_order_of_their_names(tree):
    assert found(tree) == ["a.png", "b.jpg", "gone.jpg", "notes.txt"]
    assert found(tree, leave_out=[tree / "in/../a.png"]) == ["b.jpg", "gone.jpg", "notes.txt"]


def test_recursive_takes_the_folders_inside_too_but_not_hidden_ones(tree):
    assert found(tree, recursive=True) == ["a.png", "b.jpg", "gone.jpg", "in/c.jpg", "in/deep/d.jpg", "notes.txt"]


def test_patterns_that_the_shell_left_alone_are_filled_in(tree):
    assert found(tree, "*.jpg") == ["b.jpg"]
    assert found(tree, "**/*.jpg") == ["b.jpg", "in/c.jpg", "in/deep/d.jpg"]
    (tree / "odd[1].jpg").write_bytes(b"x")
    assert found(tree, "odd[1].jpg") == ["odd[1].jpg"]


def test_a_file_stands_for_itself_even_where_it_is_missing(tree):
    assert found(tree, "missing.jpg") == ["missing.jpg"]
    assert find_files("-") == ["-"]


def test_what_stands_for_no_file_says_why(tree):
    (tree / "empty/inside").mkdir(parents=True)
    with pytest.raises(NoFilesError, match="holds no files; --recursive"):
        found(tree, "empty")
    with pytest.raises(NoFilesError, match=r"holds no files$"):
        found(tree, "empty", recursive=True)
    with pytest.raises(NoFilesError, match="no file matches"):
        found(tree, "*.heic")


def test_of_what_is_no_picture_only_the_beginning_is_read(tmp_path, monkeypatch):
    (tmp_path / "photo").write_bytes(PHOTO + bytes(200_000))
    (tmp_path / "disk").write_bytes(b"\0" * 200_000)
    assert len(read_media(str(tmp_path / "photo"))) == len(PHOTO) + 200_000
    assert len(read_media(str(tmp_path / "disk"))) < 100_000
    assert image_kind(read_media(str(tmp_path / "photo"))) == "JPEG"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(PHOTO)))
    assert read_media("-") == PHOTO


class Service:
    """A service whose later files are ready first; it notes how many were in work at once."""

    def __init__(self):
        self.begun, self.now, self.most = 0, 0, 0

    async def score(self, submission):
        self.begun, self.now = self.begun + 1, self.now + 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.1 / self.begun)
        self.now -= 1
        if submission.content == b"broken":
            raise UnreadableMediaError("it is broken")
        return submission.content[:4]


def scored(service, names, *, options=None, at_once=3, until=None):
    async def run():
        results = []
        async for result in score_files(service, names, options or ScoreOptions(), at_once=at_once):
            results.append(result)
            if len(results) == until:
                break
        return results

    return asyncio.run(run())


def test_results_come_in_the_order_of_the_files_and_a_fault_ends_nothing(tmp_path):
    for name, content in {"a": PHOTO, "b": b"broken", "d": PHOTO, "e": person_clip()}.items():
        (tmp_path / name).write_bytes(content)
    service = Service()
    results = scored(service, [str(tmp_path / name) for name in "abcde"])
    assert [Path(result.name).name for result in results] == list("abcde")
    assert [result.code for result in results] == ["", "unreadable_media", "unreadable_file", "", ""]
    assert "No such file" in results[2].reason
    assert [result.endpoint for result in results] == [Endpoint.PHOTO] * 4 + [Endpoint.CLIP]
    assert 1 < service.most <= 3


def test_all_faces_of_a_clip_are_no_verdict(tmp_path):
    (tmp_path / "clip").write_bytes(person_clip())
    [result] = scored(Service(), [str(tmp_path / "clip")], options=ScoreOptions(faces=FacePolicy.ALL))
    assert (result.code, "shows one person" in result.reason) == ("invalid_parameter", True)


def test_who_stops_early_leaves_no_file_in_work(tmp_path):
    (tmp_path / "a").write_bytes(PHOTO)
    service = Service()
    assert len(scored(service, [str(tmp_path / "a")] * 50, until=2)) == 2
    assert service.begun <= 5
