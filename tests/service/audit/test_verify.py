import gzip
import json

import pytest
from typer.testing import CliRunner

from liveness_service.audit.chain import link_of, new_chain, seal
from liveness_service.audit.chained_file import head_path
from liveness_service.audit.verify import verify
from liveness_service.cli import app
from support.audit import KEY, faults, line, numbers, written


def command(*arguments):
    return CliRunner().invoke(app, ["audit", "verify", *map(str, arguments)])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


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


# --- the command ---


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
