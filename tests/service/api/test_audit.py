import asyncio
import contextlib
import hashlib
import json
import logging
import os
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from liveness_core.bundle import Manifest
from liveness_service.audit import log as audit_log
from liveness_service.audit.file import LineFile
from liveness_service.audit.verify import verify
from liveness_service.observability.logs import configure_logging
from liveness_service.settings import Settings
from support.clips import person_clip
from support.disks import fill, small_disk
from support.pictures import encoded, no_face
from support.requests import PHOTO, URL, answer_of, as_form, bearer, make_keys
from support.tiny_bundle import make_tiny_bundle

KEYS, ENTRIES = make_keys(backend="score", operator="operations")


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def counted(client, name):
    families = text_string_to_metric_families(client.get("/metrics").text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


def test_each_verdict_is_one_line_with_what_an_auditor_asks_for(serve, live_bundle, path):
    manifest = Manifest.model_validate_json((live_bundle / "bundle.json").read_text())
    with serve(bundle_path=live_bundle, api_keys=ENTRIES, audit_log_path=path) as client:
        answer = answer_of(client.post(URL, content=PHOTO, headers=bearer(KEYS["backend"])))
        answer_of(client.post(URL + "?explain=true", **as_form(PHOTO, "private.png"), headers=bearer(KEYS["backend"])))
        answer_of(client.post(URL, content=encoded(no_face()), headers=bearer(KEYS["backend"])))
        for content, headers in ((b"hello", bearer(KEYS["backend"])), (PHOTO, {}), (PHOTO, bearer(KEYS["operator"]))):
            assert client.post(URL, content=content, headers=headers).status_code in (401, 403, 415)
        metrics = client.get("/metrics", headers=bearer(KEYS["operator"])).text
    first, form, nobody = lines_of(path)
    seen = first.pop("time")
    assert seen.endswith("Z")
    assert abs(time.time() - time.mktime(time.strptime(seen[:19], "%Y-%m-%dT%H:%M:%S")) + time.timezone) < 60
    assert (first.pop("seq"), first.pop("prev")) == (1, "0" * 64)
    assert form["prev"] == first.pop("hash")
    assert form["chain"] == nobody["chain"] == first.pop("chain")
    assert (form["seq"], nobody["seq"], nobody["prev"]) == (2, 3, form["hash"])
    assert first == {
        "event": "verdict",
        "request_id": answer["request_id"],
        "key": "backend",
        "endpoint": URL,
        "verdict": "live",
        "reasons": [],
        "score": answer["score"],
        "threshold": answer["threshold"],
        "operating_point": "eer",
        "model": {"name": "tiny", "version": "1", "manifest_sha256": manifest.manifest_sha256},
        "upload_sha256": hashlib.sha256(PHOTO).hexdigest(),
    }
    assert form["upload_sha256"] == first["upload_sha256"]  # of the file, without the form around it
    assert (nobody["verdict"], nobody["reasons"], nobody["score"]) == ("undetermined", ["no_face"], None)
    assert "private" not in path.read_text()
    assert path.stat().st_size < 2000
    assert "\nliveness_audit_records_total 3.0\n" in metrics
    assert "\nliveness_audit_failures_total 0.0\n" in metrics


def test_clips_are_recorded_too_and_keys_are_not_needed(serve, path, tmp_path):
    make_tiny_bundle(tmp_path / "clips", bias=5, temporal=True)
    with serve(bundle_path=tmp_path / "clips", audit_log_path=path) as client:
        answer = answer_of(client.post("/v1/liveness/video", content=person_clip()))
    [line] = lines_of(path)
    assert (line["endpoint"], line["key"], line["verdict"]) == ("/v1/liveness/video", "none", "live")
    assert (line["score"], line["request_id"]) == (answer["score"], answer["request_id"])
    assert line["upload_sha256"] == hashlib.sha256(person_clip()).hexdigest()


def test_what_cannot_be_recorded_is_not_answered(serve, live_bundle, problem_of):
    with serve(bundle_path=live_bundle, audit_log_path="/dev/full") as client:
        for _ in range(2):
            refused = client.post(URL, content=PHOTO)
            problem = problem_of(refused, 503, "audit_failed")
            assert int(refused.headers["retry-after"]) >= 1
            assert "No space left" in problem["detail"]
            assert "0.99" not in refused.text
            assert "/dev/full" not in refused.text
        problem_of(client.get("/health/ready"), 503, "audit_failed")
        assert client.get("/health/live").status_code == 200
        assert counted(client, "liveness_audit_failures_total") == 2
        assert counted(client, "liveness_audit_records_total") == 0
        assert counted(client, "liveness_verdicts_total") == counted(client, "liveness_key_verdicts_total") == 0


def test_a_disk_with_room_again_is_found_by_the_probe_and_the_log_tells_of_the_gap(
    serve, live_bundle, tmp_path, capsys, problem_of
):
    logging.getLogger("httpx").setLevel(logging.WARNING)
    configure_logging(Settings(log_format="json"))
    with small_disk(tmp_path / "disk", kib=64) as disk:
        path = disk / "audit.jsonl"
        with serve(bundle_path=live_bundle, audit_log_path=path) as client:
            answer_of(client.post(URL, content=PHOTO))
            ballast = fill(disk)
            statuses = [client.post(URL, content=PHOTO).status_code]
            # What is left of the file's last page takes a few lines more.
            while client.get("/health/ready").status_code == 200:
                statuses.append(client.post(URL, content=PHOTO).status_code)
                assert len(statuses) < 20
            problem_of(client.post(URL, content=PHOTO), 503, "audit_failed")
            problem_of(client.get("/health/ready"), 503, "audit_failed")
            ballast.unlink()
            assert client.get("/health/ready").status_code == 200
            assert client.get("/health/ready").status_code == 200
            answer_of(client.post(URL, content=PHOTO))
        lines = lines_of(path)
        assert verify([path]).faults == ()
    *before, gap, after = lines
    assert (gap["event"], after["event"]) == ("resumed", "verdict")
    assert before[-1]["time"] <= gap["failing_since"] <= gap["time"] <= after["time"]
    events = [line["event"] for line in lines]
    assert events.count("verdict") == statuses.count(200) + 2
    assert sum(line["refused"] for line in lines if line["event"] == "resumed") == statuses.count(503) + 1
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    failed = [line for line in logged if line["event"] == "audit_log_failed"]
    assert {(line["level"], line["reason"]) for line in failed} == {("error", "No space left on device")}
    assert len([line for line in logged if line["event"] == "audit_log_resumed"]) == len(failed)


def test_a_disk_that_refuses_is_noticed_without_a_verdict(serve, live_bundle, tmp_path, monkeypatch, problem_of):
    monkeypatch.setattr(audit_log, "_TRUST_S", 0.0)
    with small_disk(tmp_path / "disk", kib=64) as disk:
        path = disk / "audit.jsonl"
        with serve(bundle_path=live_bundle, audit_log_path=path) as client:
            assert client.get("/health/ready").status_code == 200
            assert path.read_bytes() == b""
            path.write_bytes(b"")  # gives the room back that a check reserved
            ballast = fill(disk)
            problem_of(client.get("/health/ready"), 503, "audit_failed")
            assert "\nliveness_ready 0.0\n" in client.get("/metrics").text
            ballast.unlink()
            assert client.get("/health/ready").status_code == 200
            answer_of(client.post(URL, content=PHOTO))
        events = [line["event"] for line in lines_of(path)]
    assert events == ["resumed", "verdict"]


def test_a_folder_that_is_gone_is_noticed_without_a_verdict(serve, live_bundle, tmp_path, monkeypatch, problem_of):
    monkeypatch.setattr(audit_log, "_TRUST_S", 0.0)
    folder = tmp_path / "there"
    folder.mkdir()
    with serve(bundle_path=live_bundle, audit_log_path=folder / "audit.jsonl") as client:
        assert client.get("/health/ready").status_code == 200
        folder.rename(tmp_path / "gone")
        problem_of(client.get("/health/ready"), 503, "audit_failed")


def test_a_flood_of_probes_does_not_reach_the_disk(serve, live_bundle, path, monkeypatch):
    looks = []
    check = LineFile.check
    monkeypatch.setattr(LineFile, "check", lambda self: looks.append(1) or check(self))
    monkeypatch.setattr(audit_log, "_TRUST_S", 3600.0)
    with serve(bundle_path=live_bundle, audit_log_path=path) as client:
        assert [client.get("/health/ready").status_code for _ in range(20)] == [200] * 20
    assert len(looks) == 1


def test_a_verdict_that_can_be_written_again_ends_the_gap_too(serve, live_bundle, tmp_path):
    path = tmp_path / "later" / "audit.jsonl"
    with serve(bundle_path=live_bundle, audit_log_path=path) as client:
        assert client.get("/health/ready").status_code == 503  # said at start, before the first verdict
        assert client.post(URL, content=PHOTO).status_code == 503
        path.parent.mkdir()
        answer_of(client.post(URL, content=PHOTO))
        assert client.get("/health/ready").status_code == 200
    assert [line["event"] for line in lines_of(path)] == ["resumed", "verdict"]


@pytest.mark.anyio
async def test_requests_that_overlap_are_each_recorded_once_while_the_log_is_rotated(
    running, live_bundle, path, tmp_path
):
    async with running(bundle_path=live_bundle, audit_log_path=path, max_inflight=100) as client:
        rotated = []
        idents = set()
        for number in range(4):
            answers = [asyncio.create_task(client.post(URL, content=PHOTO)) for _ in range(8)]
            await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            rotated.append(tmp_path / f"audit.{number}")
            path.rename(rotated[-1])
            idents |= {answer_of(await answer)["request_id"] for answer in answers}
    lines = [line for each in [*rotated, path] if each.exists() for line in lines_of(each)]
    assert len(lines) == len(idents) == 32
    assert {line["request_id"] for line in lines} == idents
    assert verify([each for each in [*rotated, path] if each.exists()]).faults == ()


@pytest.mark.anyio
async def test_a_disk_that_does_not_answer_holds_up_nobody_else(running, live_bundle, tmp_path, monkeypatch, request):
    monkeypatch.setattr(audit_log, "_TIMEOUT_S", 0.5)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    filler = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    # Where the test fails, too: a thread that goes on writing would keep the process of the tests from ending.
    request.addfinalizer(lambda: (os.close(filler), os.close(reader)))
    with contextlib.suppress(BlockingIOError):
        while os.write(filler, bytes(4096)):
            pass
    # From here on a write to it blocks, as to a network disk whose server is gone.
    async with running(bundle_path=live_bundle, audit_log_path=pipe) as client:
        scoring = asyncio.create_task(client.post(URL, content=PHOTO))
        answered = 0
        while not scoring.done():
            assert (await client.get("/health/live")).status_code == 200
            answered += 1
            await asyncio.sleep(0.01)
        assert (await scoring).status_code == 503
        assert answered >= 5
        assert (await client.get("/health/ready")).status_code == 503
        while os.read(reader, 1 << 20):  # it answers again
            if (await _ready(client)).status_code == 200:
                break


async def _ready(client: httpx.AsyncClient) -> httpx.Response:
    return await client.get("/health/ready")
