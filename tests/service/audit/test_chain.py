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
from typer.testing import CliRunner

from liveness_service.access.policy import AccessError
from liveness_service.app import create_app
from liveness_service.audit.chain import link_of, new_chain, read_key, seal
from liveness_service.audit.chained_file import ChainedFile, Rotation, head_path
from liveness_service.audit.verify import verify
from liveness_service.cli import app
from liveness_service.settings import Settings
from support.disks import fill, small_disk

BEGIN = b'{"time"'
KEY = b"k" * 32


def line(number, day=1, size=20):
    return json.dumps({"time": f"2026-11-{day:02}T10:00:00.000Z", "n": number, "text": "x" * size}).encode() + b"\n"


def numbers(path):
    return [json.loads(each)["n"] for each in path.read_bytes().splitlines()]


def written(path, count=9, key=None, rotation=None, start=0):
    file = ChainedFile(path, BEGIN, key=key, rotation=rotation)
    for number in range(start, start + count):
        file.append(line(number))
    file.close()
    return path.read_bytes().splitlines(keepends=True)


def faults(*paths, **options):
    return list(verify(paths, **options).faults)


def command(*arguments):
    return CliRunner().invoke(app, ["audit", "verify", *map(str, arguments)])


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


# --- what was done to a log of nine lines, and what must be said of it ---


def _changed(lines):
    lines[4] = lines[4].replace(b'"n": 4', b'"n": 5')


def _removed(lines):
    del lines[4]


def _two_removed(lines):
    del lines[4:6]


def _swapped(lines):
    lines[4], lines[5] = lines[5], lines[4]


def _moved(lines):
    lines.insert(7, lines.pop(2))


def _doubled(lines):
    lines.insert(5, lines[4])


def _added(lines):
    lines.insert(5, line(77))


def _head_cut(lines):
    del lines[:3]


def _tail_cut(lines):
    del lines[-2:]


def _last_changed(lines):
    lines[-1] = lines[-1].replace(b'"n": 8', b'"n": 9')


def _half_a_line(lines):
    lines[4] = lines[4][:50] + b"\n"


def _one_replaced(lines):
    """Changed, and sealed again without a key."""
    link = link_of(lines[4].rstrip(b"\n"))
    before = link_of(lines[3].rstrip(b"\n")).head
    lines[4], _ = seal(line(99), before, None)
    assert link_of(lines[4].rstrip(b"\n")).head.seq == link.head.seq


def _all_sealed_again(lines):
    head = new_chain()
    for number in range(len(lines)):
        lines[number], head = seal(line(number + 50), head, None)


@pytest.mark.parametrize("key", [None, KEY], ids=["sha256", "hmac"])
@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (_changed, ["line 5 (number 5): changed"]),
        (_removed, ["line number 5 is missing: between {path} line 4 and {path} line 5"]),
        (_two_removed, ["lines number 5 to 6 are missing"]),
        (_swapped, ["line 6 (number 5): swapped"]),
        (_moved, ["line 8 (number 3): swapped"]),
        (_doubled, ["line 6 (number 5): a line of this number stands before it"]),
        (_added, ["line 6: no sealed line"]),
        (_head_cut, ["lines number 1 to 3 are missing: before {path} line 1 (number 4)"]),
        (_tail_cut, ["{path}: cut off, line number 9"]),
        (_last_changed, ["line 9 (number 9): changed"]),
        (_half_a_line, ["line 5: no sealed line", "line number 5 is missing"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_was_done_to_the_log_is_found_and_named(path, key, tamper, found):
    lines = written(path, key=key)
    tamper(lines)
    path.write_bytes(b"".join(lines))
    keys = [] if key is None else [key]
    told = faults(path, keys=keys)
    assert len(told) == len(found)
    for fault, part in zip(told, found, strict=True):
        assert part.format(path=path) in fault
    assert "whole" not in " ".join(told)


def test_a_line_that_is_replaced_and_sealed_again_breaks_the_chain_behind_it(path):
    lines = written(path)
    _one_replaced(lines)
    path.write_bytes(b"".join(lines))
    assert faults(path) == [f"{path} line 6 (number 6): does not follow {path} line 5, one of the two was replaced"]


def test_who_has_no_key_cannot_write_the_log_anew(path):
    lines = written(path, key=KEY)
    _all_sealed_again(lines)
    path.write_bytes(b"".join(lines))
    head_path(path).unlink()
    assert faults(path) == []  # without a key everybody can seal lines
    assert len(faults(path, keys=[KEY])) == 9


def test_a_hash_that_was_kept_elsewhere_finds_what_was_cut_off_or_written_anew(path):
    lines = written(path)
    head_path(path).unlink()
    kept = verify([path]).chains[0].head.hash
    assert faults(path, anchors=[kept]) == []
    written(path, 3, start=9)
    assert faults(path, anchors=[kept]) == []
    path.write_bytes(b"".join(lines[:-1]))
    head_path(path).unlink()
    assert faults(path) == []  # nothing in the file tells it
    assert faults(path, anchors=[kept]) == [f"no line has the hash {kept}: it was cut off or changed"]
    _all_sealed_again(lines)
    path.write_bytes(b"".join(lines))
    assert len(faults(path, anchors=[kept])) == 1


def test_old_files_may_be_deleted_if_their_last_hash_was_kept(path, tmp_path):
    written(path)
    kept = verify([path]).chains[0].head.hash
    path.rename(tmp_path / "old")
    written(path, start=9)
    assert faults(tmp_path / "old", path) == []
    (tmp_path / "old").unlink()
    assert faults(path) == [f"lines number 1 to 9 are missing: before {path} line 1 (number 10)"]
    assert faults(path, anchors=[kept]) == []


def test_lines_of_an_older_version_stay_readable_and_are_accepted_only_when_asked(path):
    path.write_bytes(line(0) + line(1))
    written(path, start=2)
    assert numbers(path) == list(range(11))
    assert faults(path) == [f"{path} line {n}: no sealed line of an audit log" for n in (1, 2)]
    report = verify([path], allow_unsealed=True)
    assert (report.faults, report.unsealed) == ((), 2)
    path.write_bytes(path.read_bytes() + line(11))
    assert faults(path, allow_unsealed=True) == [f"{path} line 12: no sealed line of an audit log"]


def test_after_lines_were_cut_off_the_service_goes_on_where_it_was(path):
    lines = written(path)
    path.write_bytes(b"".join(lines[:-2]))
    written(path, 1, start=9)
    assert faults(path) == [f"lines number 8 to 9 are missing: between {path} line 7 and {path} line 8"]


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


# --- settings and command ---


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


def test_the_command_tells_the_last_hash_and_takes_it_again(path, tmp_path):
    lines = written(path, key=KEY)
    (tmp_path / "key").write_bytes(KEY)
    options = ["--key-file", tmp_path / "key"]
    done = command(path, *options)
    assert done.exit_code == 0
    kept = json.loads(lines[-1])["hash"]
    assert f"9 lines, number 1 to 9, last hash {kept}" in done.output
    assert command(path, *options, "--anchor", kept).exit_code == 0
    assert command(path).exit_code == 1
    lost = command(path, *options, "--anchor", "a" * 64)
    assert (lost.exit_code, "no line has the hash aaaa" in lost.output) == (1, True)
    path.write_bytes(b"".join(lines[:4] + lines[5:]))
    cut = command(path, *options)
    assert cut.exit_code == 1
    assert "line number 5 is missing" in cut.output


def test_the_command_accepts_a_log_sealed_with_an_older_key_and_a_newer_one(path, tmp_path):
    (tmp_path / "old").write_bytes(KEY)
    (tmp_path / "new").write_bytes(b"n" * 32)
    written(path, key=KEY)
    written(path, key=b"n" * 32, start=9)
    assert command(path, "--key-file", tmp_path / "old", "--key-file", tmp_path / "new").exit_code == 0
    assert command(path, "--key-file", tmp_path / "new").exit_code == 1


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (None, 2, "cannot be read"),
        (b"not gzip", 2, ""),
        (gzip.compress(line(0))[:-4], 2, ""),
        (gzip.compress(b""), 1, "no sealed line was found"),
    ],
    ids=["missing", "not gzip", "cut gzip", "empty"],
)
def test_what_cannot_be_checked_is_never_whole(tmp_path, content, status, message):
    path = tmp_path / "audit.jsonl.1.gz"
    if content is not None:
        path.write_bytes(content)
    done = command(path)
    assert done.exit_code == status
    assert message in done.output
    assert "Traceback" not in done.output


def test_an_anchor_that_is_no_hash_is_a_mistake(path):
    written(path)
    done = command(path, "--anchor", "abc")
    assert (done.exit_code, "not a hash of 64" in done.output) == (2, True)
