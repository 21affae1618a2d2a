import asyncio
import csv
import io
import json
import re
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import liveness_core
from liveness_service.api.schemas import LivenessResponse
from liveness_service.cli import app
from liveness_service.cli_serve import CannotServeError, check_port
from liveness_service.files import score_files, started
from liveness_service.settings import read_settings, settings_table
from liveness_service.submission import ScoreOptions
from liveness_service.thumbnails import thumbnail
from support.clips import person_clip
from support.pictures import astronaut, encoded, no_face, two_faces
from support.tiny_bundle import make_tiny_bundle


@pytest.fixture
def photos(tmp_path):
    contents = {
        "photo.jpg": encoded(astronaut()),
        "no_extension": encoded(astronaut(), "PNG"),
        "nobody.png": encoded(no_face(), "PNG"),
        "pair.png": encoded(two_faces(), "PNG"),
        "notes.jpg": b"these are notes",
        "half.jpg": encoded(astronaut())[:5000],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return lambda *names: [str(tmp_path / name) for name in names]


def score(*arguments, bundle):
    return CliRunner().invoke(app, ["score", "--bundle", str(bundle), *arguments])


def test_live_files_are_status_0_and_a_line_each(photos, live_bundle):
    result = score(*photos("photo.jpg", "no_extension"), bundle=live_bundle)
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first.startswith(photos("photo.jpg")[0] + ": live, score 0.99")
    assert first.endswith("threshold 0.500, eer")
    assert second.startswith(photos("no_extension")[0] + ": live")


def test_a_spoof_is_status_1(photos, spoof_bundle):
    result = score(*photos("photo.jpg"), bundle=spoof_bundle)
    assert result.exit_code == 1
    assert ": spoof, score 0.0" in result.stdout


def test_undetermined_is_status_1_and_says_why(photos, live_bundle):
    result = score(*photos("photo.jpg", "nobody.png", "pair.png"), bundle=live_bundle)
    assert result.exit_code == 1
    assert ": live" in result.stdout
    assert ": undetermined (no_face), no score" in result.stdout
    assert ": undetermined (multiple_faces), no score" in result.stdout


def test_what_cannot_be_scored_is_status_2_and_the_others_are_scored(photos, live_bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    result = score(
        *photos("notes.jpg", "half.jpg", "missing.jpg"),
        str(tmp_path / "empty"),
        *photos("photo.jpg", "pair.png"),
        bundle=live_bundle,
    )
    assert result.exit_code == 2
    assert ": live" in result.stdout
    assert result.stdout.count("\n") == 2
    notes, half, missing, folder = result.stderr.splitlines()
    assert "notes.jpg: the content is text" in notes
    assert "half.jpg: this JPEG image is truncated" in half
    assert "missing.jpg" in missing
    assert folder.startswith(f"{tmp_path / 'empty'}: the folder holds no files")
    assert "Traceback" not in result.output


@pytest.fixture
def folder(photos, tmp_path):
    """Six files, of which one is in a folder inside."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "pair.png").rename(tmp_path / "inside/pair.png")
    return tmp_path


def test_a_folder_gets_a_line_for_every_file_failed_ones_included(folder, live_bundle):
    result = score("--csv", str(folder), bundle=live_bundle)
    assert result.exit_code == 2
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {Path(row["file"]).name: (row["verdict"], row["reasons"] or row["code"]) for row in rows} == {
        "half.jpg": ("failed", "unreadable_media"),
        "no_extension": ("live", ""),
        "nobody.png": ("undetermined", "no_face"),
        "notes.jpg": ("failed", "unsupported_media"),
        "photo.jpg": ("live", ""),
    }
    assert float(rows[-1]["score"]) > float(rows[-1]["threshold"]) == 0.5
    assert "the content is text" in rows[3]["detail"]
    lines = [json.loads(line) for line in score("--json", "-r", str(folder), bundle=live_bundle).stdout.splitlines()]
    assert [(Path(line["file"]).name, line["verdict"]) for line in lines] == [
        ("half.jpg", None),
        ("pair.png", "undetermined"),
        ("no_extension", "live"),
        ("nobody.png", "undetermined"),
        ("notes.jpg", None),
        ("photo.jpg", "live"),
    ]
    assert (lines[0]["error"]["code"], "truncated" in lines[0]["error"]["detail"]) == ("unreadable_media", True)


def test_a_table_is_aligned_and_counts(folder, live_bundle):
    result = score("--table", str(folder / "*.jpg"), str(folder / "nowhere*"), bundle=live_bundle)
    assert (result.exit_code, result.stderr) == (2, "")
    head, *rows, counts = result.stdout.splitlines()
    column = head.index("file")
    assert [row[column:].startswith(str(folder)) for row in rows] == [True] * 4
    assert [row.split()[0] for row in rows] == ["failed", "failed", "live", "failed"]
    assert rows[3].endswith("no file matches this pattern")
    assert counts == "4 files: 3 failed, 1 live"


def test_an_interrupt_is_no_verdict(photos, live_bundle, monkeypatch):
    async def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("liveness_service.cli_score._score", interrupted)
    assert score(*photos("photo.jpg"), bundle=live_bundle).exit_code == 130


def test_a_dash_is_standard_input(live_bundle):
    result = CliRunner().invoke(app, ["score", "--bundle", str(live_bundle), "-"], input=encoded(astronaut()))
    assert (result.exit_code, result.stdout.startswith("-: live, score 0.99")) == (0, True)


def test_forms_exclude_each_other_and_odd_names_keep_to_their_line(tmp_path, live_bundle):
    (tmp_path / "a\nb.jpg").write_bytes(encoded(astronaut()))
    assert score("--json", "--csv", str(tmp_path), bundle=live_bundle).exit_code == 2
    result = score(str(tmp_path), bundle=live_bundle)
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)


def test_the_report_is_a_page_that_needs_nothing_else(folder, live_bundle):
    (folder / "<b>.jpg").write_bytes(encoded(astronaut()))
    report = folder / "out.html"
    for options, pictures in ((["--report", str(report)], 4), (["--report", str(report), "--no-pictures"], 0)):
        result = score(*options, str(folder), bundle=live_bundle)
        assert (result.exit_code, str(report) in result.stderr) == (2, True)
        page = report.read_text()
        assert page.count("<li class=") == 6  # the page itself is none of the files
        assert page.count('src="data:image/jpeg;base64,') == pictures
        assert not re.findall(r"""(?:src|href)=["'](?!data:)|url\(|@import""", page)
        assert "<b>.jpg" not in page
        assert "&lt;b&gt;.jpg" in page
        for verdict, count in {"live": 3, "undetermined": 1, "failed": 2}.items():
            assert page.count(f'data-verdict="{verdict}"') == count
            assert f">{count} {verdict}</span>" in page
    nowhere = score("--report", str(folder / "missing/out.html"), str(folder), bundle=live_bundle)
    assert (nowhere.exit_code, nowhere.stdout, "folder does not exist" in nowhere.stderr) == (2, "", True)


def test_thumbnails_show_the_face(tmp_path, live_bundle):
    make_tiny_bundle(tmp_path / "clips", bias=5, temporal=True)
    (tmp_path / "clip").write_bytes(person_clip())
    photo = cv2.copyMakeBorder(astronaut(), 0, 0, 0, 1500, cv2.BORDER_CONSTANT)
    (tmp_path / "photo").write_bytes(encoded(photo))
    settings = read_settings(bundle_path=tmp_path / "clips", workers=0)

    async def pictures():
        async with started(settings) as service:
            names = [str(tmp_path / name) for name in ("clip", "photo", "missing")]
            return [thumbnail(found, settings) async for found in score_files(service, names, ScoreOptions())]

    clip, photo, missing = asyncio.run(pictures())
    assert missing is None
    for content in (clip, photo):
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert 100 < max(picture.shape) <= 200
        assert picture[40:-40, 40:-40].mean() > 60  # the border beside the person is black


def test_json_is_the_apis_answer_a_line_each(photos, live_bundle):
    result = score("--json", *photos("photo.jpg", "nobody.png"), bundle=live_bundle)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line.pop("file") for line in lines] == photos("photo.jpg", "nobody.png")
    answers = [LivenessResponse.model_validate({"request_id": "x", **line}) for line in lines]
    assert [answer.verdict.value for answer in answers] == ["live", "undetermined"]
    assert answers[0].faces[0].score == answers[0].score


def test_clips_are_told_from_photos_by_their_content(tmp_path, live_bundle):
    make_tiny_bundle(tmp_path / "clips", bias=5, temporal=True)
    for name, content in {"clip": person_clip(), "photo": encoded(astronaut()), "cut": person_clip()[:3000]}.items():
        (tmp_path / name).write_bytes(content)
    result = score("--json", str(tmp_path / "clip"), str(tmp_path / "photo"), bundle=tmp_path / "clips")
    assert result.exit_code == 0
    clip, photo = (json.loads(line) for line in result.stdout.splitlines())
    assert (clip["verdict"], clip["clip"]["frames_used"], len(clip["frames"])) == ("live", 8, 8)
    assert "clip" not in photo
    assert "face" in score("--faces", "all", str(tmp_path / "clip"), bundle=tmp_path / "clips").stderr
    assert score("--faces", "largest", str(tmp_path / "clip"), bundle=tmp_path / "clips").exit_code == 0
    damaged = score(str(tmp_path / "cut"), bundle=tmp_path / "clips")
    assert damaged.exit_code == 2
    assert "cut: the clip cannot be read" in damaged.stderr
    photos_only = score(str(tmp_path / "clip"), bundle=live_bundle)
    assert photos_only.exit_code == 2
    assert "no temporal head" in photos_only.stderr


def test_options_arrive(photos, live_bundle):
    assert score("--faces", "all", *photos("pair.png"), bundle=live_bundle).exit_code == 0
    assert score("--faces", "largest", *photos("pair.png"), bundle=live_bundle).exit_code == 0
    strict = score("--operating-point", "strict", *photos("photo.jpg"), bundle=live_bundle)
    assert strict.exit_code == 1
    assert "threshold 1.000, strict" in strict.stdout
    unknown = score("--operating-point", "lax", *photos("photo.jpg", "nobody.png"), bundle=live_bundle)
    assert unknown.exit_code == 2
    assert unknown.stderr.count("only eer, strict") == 1


def test_without_a_model_is_status_2_and_names_the_fault(photos, tmp_path):
    result = score(*photos("photo.jpg"), bundle=tmp_path / "nowhere")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "no model: " in result.stderr
    assert str(tmp_path / "nowhere") in result.stderr


def test_a_wrong_setting_is_status_2_and_named(photos, live_bundle, monkeypatch):
    monkeypatch.setenv("LIVENESS_MAX_PIXELS", "lots")
    for command in (["serve"], ["score", *photos("photo.jpg")]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2
        assert "LIVENESS_MAX_PIXELS: " in result.stderr
        assert "'lots'" in result.stderr
        assert "allowed: 10000 to 200000000" in result.stderr
        assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"host": "0.0.0.0"}, "LIVENESS_ALLOW_ANONYMOUS"),
        ({"host": "::"}, "liveness keys new"),
        ({"api_keys_file": "/nowhere/keys"}, "/nowhere/keys"),
        ({"api_keys": "lv_my-secret-key"}, "LIVENESS_API_KEYS: "),
        ({"rate_limit": "many"}, "LIVENESS_RATE_LIMIT: "),
        ({"rate_limit_store": "memcached://cache"}, "LIVENESS_RATE_LIMIT_STORE: "),
        ({"rate_limit": "1/day", "rate_limit_store": "redis://:my-secret/key@cache:port"}, "RATE_LIMIT_STORE"),
    ],
)
def test_settings_that_leave_no_safe_way_to_start_are_named(settings, named):
    environment = {f"LIVENESS_{name.upper()}": value for name, value in settings.items()}
    refused = CliRunner().invoke(app, ["serve", "--port", "0"], env=environment)
    assert refused.exit_code == 2
    assert named in refused.stderr
    assert "my-secret" not in refused.output
    assert "Traceback" not in refused.output


def test_the_settings_can_be_listed():
    result = CliRunner().invoke(app, ["settings"])
    assert result.exit_code == 0
    assert result.stdout.strip() == settings_table().strip()


def test_the_version_and_completion_are_there():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"liveness {liveness_core.__version__}\n"
    completed = CliRunner().invoke(
        app,
        [],
        env={"_LIVENESS_COMPLETE": "complete_bash", "COMP_WORDS": "liveness sc", "COMP_CWORD": "1"},
        prog_name="liveness",
    )
    assert completed.stdout.split() == ["score"]


def test_a_taken_port_is_told_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("liveness_service.cli_serve.serve_until_stopped", lambda *_: pytest.fail("it went on"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["serve", "--port", str(port)])
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"cannot listen on 127.0.0.1 port {port}: address already in use" in result.stderr
        assert "--port" in result.stderr
    check_port("127.0.0.1", port)
    with pytest.raises(CannotServeError, match="no such address"):
        check_port("192.0.2.1", 8000)


def test_without_a_command_there_is_help():
    result = CliRunner().invoke(app, [])
    assert "serve" in result.output
    assert "score" in result.output
