import gzip
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from pydantic import ValidationError

from liveness_service.access.policy import AccessError
from liveness_service.app import create_app
from liveness_service.audit.chain import read_key
from liveness_service.audit.chained_file import ChainedFile, Rotation, head_path
from liveness_service.audit.verify import verify
from liveness_service.settings import Settings
from support.audit import BEGIN, KEY, faults, line, numbers, written
from support.disks import fill, small_disk


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


def test_every_line_names_the_line_before_it(path):
    lines = [json.loads(each) for each in written(path)]
    assert [each["seq"] for each in lines] == list(range(1, 10))
    assert [each["prev"] for each in lines] == ["0" * 64, *(each["hash"] for each in lines[:-1])]
    assert len({each["chain"] for each in lines}) == 1
    assert [each["n"] for each in lines] == list(range(9))
    assert faults(path) == []


@pytest.mark.parametrize("key", [None, KEY], ids=["sha256", "hmac"])
def test_the_hash_can_be_computed_with_ordinary_tools(path, tmp_path, key):
    last = written(path, 2, key)[-1].decode()
    (tmp_path / "sealed").write_text(last[: last.rindex(', "hash"')])
    options = [] if key is None else ["-hmac", key.decode()]
    made = subprocess.run(["openssl", "dgst", "-sha256", *options, tmp_path / "sealed"], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"openssl does not work here ({made.stderr.strip()})")
    assert made.stdout.split()[-1] == json.loads(last)["hash"]


# --- rotation ---


def test_the_chain_goes_on_however_the_file_was_taken_away(path, tmp_path):
    written(path)
    path.rename(tmp_path / "1")
    written(path, start=9)
    (tmp_path / "2.gz").write_bytes(gzip.compress(path.read_bytes()))
    os.truncate(path, 0)  # logrotate's `copytruncate`
    written(path, start=18)
    assert faults(path, tmp_path / "2.gz", tmp_path / "1") == []
    path.unlink()
    written(path, start=27)
    told = faults(path, tmp_path / "1", tmp_path / "2.gz")
    assert told == [f"lines number 19 to 27 are missing: between {tmp_path / '2.gz'} line 9 and {path} line 1"]


def test_a_file_has_as_many_bytes_as_it_may_have_and_not_one_more(path, tmp_path):
    size = len(b"".join(written(path, 5)))
    for most, files in ((size, 1), (size - 1, 2)):
        folder = tmp_path / str(most)
        folder.mkdir()
        written(folder / "audit.jsonl", 5, rotation=Rotation(max_bytes=most))
        found = sorted(folder.glob("audit.jsonl*"))
        assert len(found) == files
        assert faults(*found) == []
    first, second = folder / "audit.jsonl", found[1]
    assert (numbers(second), numbers(first)) == ([0, 1, 2, 3], [4])
    assert re.fullmatch(r"audit\.jsonl\.\d{8}T\d{6}Z-0000000004", second.name)


def test_each_day_has_its_file_if_asked(path, tmp_path):
    file = ChainedFile(path, BEGIN, rotation=Rotation(daily=True))
    for number, day in enumerate((1, 1, 2, 2, 4)):
        file.append(line(number, day))
    file.close()
    files = [*sorted(tmp_path.glob("audit.jsonl.*")), path]
    assert sorted(map(numbers, files)) == [[0, 1], [2, 3], [4]]
    assert faults(*files) == []


WRITER = """
import json, sys, time
from pathlib import Path
from liveness_service.audit.chained_file import ChainedFile, Rotation
file = ChainedFile(Path(sys.argv[1]), b'{"time"', rotation=Rotation(max_bytes=60_000))
for number in range(150):
    members = {"time": 0, "n": [int(sys.argv[2]), number], "text": "x" * (number * 37 % 900)}
    file.append(json.dumps(members).encode() + b"\\n")
    time.sleep(0.002)
"""


def test_several_processes_write_one_chain_while_they_and_others_rotate_the_file(path, tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(number)]) for number in range(3)]
    moved = 0
    while any(writer.poll() is None for writer in writers):
        time.sleep(0.001)
        with suppress(FileNotFoundError):
            if path.stat().st_size > 30_000:
                path.rename(tmp_path / f"audit.jsonl.moved-{moved}")
                moved += 1
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    files = sorted(tmp_path.glob("audit.jsonl*"))
    assert len(files) > 3
    assert sorted(number for each in files for number in numbers(each)) == [
        [w, n] for w in range(3) for n in range(150)
    ]
    report = verify(files)
    assert report.faults == ()
    assert [(chain.first, chain.lines) for chain in report.chains] == [(1, 450)]


# --- disks and crashes ---


def test_lines_that_did_not_fit_on_the_disk_leave_no_gap(tmp_path):
    with small_disk(tmp_path / "disk", kib=64) as disk:
        path = disk / "audit.jsonl"
        file = ChainedFile(path, BEGIN)
        file.append(line(0))
        ballast = fill(disk)
        with pytest.raises(OSError, match="No space left"):
            file.append(line(1, size=5000))
        # What is left of the page that the file has is used to its end, and the head is written too.
        written = 1
        with suppress(OSError):
            while written < 100:
                file.append(line(written))
                written += 1
        with pytest.raises(OSError, match="No space left"):
            file.check()
        assert faults(path) == []
        ballast.unlink()
        file.append(line(written))
        assert numbers(path) == list(range(written + 1))
        assert faults(path) == []
        file.close()


@pytest.mark.parametrize("torn", [b"", b'{"chain": "', b"\xff" * 256, b"[]" + b" " * 254], ids=range(4))
def test_a_torn_head_or_line_is_what_a_crash_leaves_and_the_chain_goes_on(path, torn):
    lines = written(path)
    path.write_bytes(b"".join(lines) + lines[3][:40])
    head_path(path).write_bytes(torn)
    written(path, start=9)
    assert numbers(path) == list(range(18))
    assert faults(path) == []


def test_a_pipe_gets_a_chain_too_and_nothing_is_put_beside_it(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    file = ChainedFile(pipe, BEGIN)
    file.check()
    file.append(line(0) + line(1))
    file.append(line(2))
    (tmp_path / "copy").write_bytes(os.read(reader, 10_000))
    os.close(reader)
    file.close()
    assert faults(tmp_path / "copy") == []
    assert numbers(tmp_path / "copy") == [0, 1, 2]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy", "pipe"]


# --- settings ---


def test_a_key_has_at_least_32_bytes(tmp_path):
    (tmp_path / "key").write_bytes(b" " + b"k" * 32 + b"\n")
    assert read_key(tmp_path / "key") == b"k" * 32
    (tmp_path / "key").write_bytes(b"k" * 31 + b"\n")
    settings = Settings(audit_log_path=tmp_path / "log", audit_key_file=tmp_path / "key")
    with pytest.raises(AccessError, match=r"LIVENESS_AUDIT_KEY_FILE: .*has 31 bytes, and at least 32"):
        create_app(settings)
    (tmp_path / "key").unlink()
    with pytest.raises(AccessError, match="cannot be read"):
        create_app(settings)


def test_a_file_may_be_limited_to_10000_bytes_and_not_to_fewer():
    assert Settings(audit_max_bytes=10_000).audit_max_bytes == 10_000
    with pytest.raises(ValidationError, match="audit_max_bytes"):
        Settings(audit_max_bytes=9_999)
