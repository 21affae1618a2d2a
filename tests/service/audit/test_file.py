import json
import os
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from liveness_service.audit import file as audit_file
from liveness_service.audit.file import LineFile
from support.disks import fill, small_disk

BEGIN = b'{"time"'


def line(number, size=200):
    return json.dumps({"time": number, "text": "x" * size}).encode() + b"\n"


def times(path):
    return [json.loads(each)["time"] for each in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


@pytest.fixture
def file(path):
    opened = LineFile(path, BEGIN)
    yield opened
    opened.close()


def test_lines_are_added_to_what_is_there_and_others_may_not_read_them(path, file):
    file.append(line(0))
    file.append(line(1) + line(2))
    file.close()
    file.append(line(3))
    assert times(path) == [0, 1, 2, 3]
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0


def test_a_check_changes_nothing_that_readers_see(path, file):
    file.check()
    assert path.read_bytes() == b""
    file.append(line(0))
    for _ in range(3):
        file.check()
    assert path.read_bytes() == line(0)
    file.append(line(1))
    assert times(path) == [0, 1]


@pytest.mark.parametrize("can_reserve", [True, False], ids=["reserves room", "asks for free room"])
def test_a_check_notices_a_full_disk(tmp_path, monkeypatch, can_reserve):
    if not can_reserve:
        monkeypatch.setattr(audit_file, "_FALLOCATE", None)
    with small_disk(tmp_path / "disk", kib=64) as disk:
        file = LineFile(disk / "audit.jsonl", BEGIN)
        (disk / "audit.jsonl").touch()
        ballast = fill(disk)
        with pytest.raises(OSError, match="No space left"):
            file.check()
        ballast.unlink()
        file.check()
        file.close()


def test_logrotate_may_move_remove_or_empty_the_file(path, file, tmp_path):
    file.append(line(0))
    path.rename(tmp_path / "audit.jsonl.1")  # logrotate's default, without `create`
    file.append(line(1))
    path.rename(tmp_path / "audit.jsonl.2")
    path.touch()  # with `create`
    file.append(line(2))
    path.unlink()
    file.append(line(3))
    assert times(path) == [3]
    os.truncate(path, 0)  # with `copytruncate`
    file.append(line(4))
    assert (times(tmp_path / "audit.jsonl.1"), times(tmp_path / "audit.jsonl.2"), times(path)) == ([0], [1], [4])


def test_a_full_disk_is_an_error_and_leaves_no_part_of_a_line(tmp_path):
    with small_disk(tmp_path / "disk", kib=64) as disk:
        path = disk / "audit.jsonl"
        file = LineFile(path, BEGIN)
        written = 0
        with suppress(OSError):
            while written < 10_000:
                file.append(line(written))
                written += 1
        assert 100 < written < 1000
        assert times(path) == list(range(written))
        with pytest.raises(OSError, match="No space left"):
            file.append(line(written, size=5000) * 20)
        assert times(path) == list(range(written))
        os.truncate(path, 0)
        file.append(line(7))
        ballast = fill(disk)
        with pytest.raises(OSError, match="No space left"):
            file.append(line(8, size=5000))
        ballast.unlink()
        file.append(line(9))
        assert times(path) == [7, 9]
        file.close()


def test_a_device_that_is_full_from_the_beginning_is_an_error():
    file = LineFile(Path("/dev/full"), BEGIN)
    with pytest.raises(OSError, match="No space left"):
        file.append(line(0))
    file.close()


def test_a_folder_that_is_missing_is_an_error_until_it_is_there(tmp_path):
    path = tmp_path / "later" / "audit.jsonl"
    file = LineFile(path, BEGIN)
    with pytest.raises(FileNotFoundError):
        file.append(line(0))
    path.parent.mkdir()
    file.append(line(1))
    assert times(path) == [1]
    file.close()


@pytest.mark.parametrize("cut", [1, 4, 100, 200])
def test_what_a_crash_left_of_a_line_is_cut_off(path, file, cut):
    path.write_bytes(line(0) + line(1)[:cut])
    file.append(line(2))
    assert times(path) == [0, 2]


def test_a_file_of_somebody_else_is_not_cut(path, file):
    for content in (b"important notes", b"a\nimportant notes", b"x" * 100_000):
        path.write_bytes(content)
        with pytest.raises(OSError, match="does not come from this log"):
            file.append(line(0))
        assert path.read_bytes() == content


WRITER = """
import json, sys, time
from pathlib import Path
from liveness_service.audit import file as audit_file
from liveness_service.audit.file import LineFile
file = LineFile(Path(sys.argv[1]), b'{"time"')
for number in range(300):
    file.append(json.dumps({"time": [int(sys.argv[2]), number], "text": "x" * (number * 37 % 9000)}).encode() + b"\\n")
    time.sleep(0.002)  # so that the file is rotated between lines, however fast the disk is
"""


def test_lines_of_several_processes_never_mix_even_while_the_file_is_rotated(path, tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(number)]) for number in range(3)]
    rotated = []
    while any(writer.poll() is None for writer in writers):
        time.sleep(0.001)  # a loop without a pause would take a core from the writers
        if path.exists() and path.stat().st_size > 50_000:
            rotated.append(tmp_path / f"rotated-{len(rotated)}")
            path.rename(rotated[-1])
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(rotated) > 3
    written = [tuple(number) for each in [*rotated, path] if each.exists() for number in times(each)]
    assert sorted(written) == [(writer, number) for writer in range(3) for number in range(300)]
