import base64
import json
import logging

import pytest
import structlog
from PIL import Image

from liveness_service.observability.logs import configure_logging
from liveness_service.settings import Settings
from support.pictures import astronaut, encoded, head_and_shoulders

URL = "/v1/liveness"
PHOTO = encoded(head_and_shoulders(), "PNG")


@pytest.fixture
def lines(capsys):
    """Log as JSON at this level; what was logged since."""
    httpx = logging.getLogger("httpx")  # the test's own client speaks in this process too
    level = httpx.level
    httpx.setLevel(logging.WARNING)

    def configure(level="info"):
        configure_logging(Settings(log_format="json", log_level=level))
        return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    yield configure
    httpx.setLevel(level)


def test_a_request_is_one_line_with_what_an_operator_asks_for(client, lines):
    logged = lines()
    response = client.post(URL, content=PHOTO, headers={"X-Request-ID": "find-me"})
    [line] = logged()
    assert line["event"] == "request"
    assert line["level"] == "info"
    assert (line["method"], line["path"], line["status"]) == ("POST", URL, 200)
    assert line["request_id"] == "find-me"
    assert (line["verdict"], line["score"]) == ("live", response.json()["score"])
    assert (line["reasons"], line["operating_point"]) == ([], "eer")
    assert (line["model"], line["model_version"]) == ("tiny", "1")
    assert 0 < line["ms"] < 60_000
    assert line["time"].startswith("20")
    assert line["time"].endswith("Z")


def test_an_error_is_one_line_with_its_code_and_text(client, lines):
    logged = lines()
    detail = client.post(URL, content=b"hello").json()["detail"]
    client.get("/nowhere")
    refused, unknown = logged()
    assert (refused["status"], refused["code"], refused["detail"]) == (415, "unsupported_media", detail)
    assert "verdict" not in refused
    assert (unknown["status"], unknown["path"]) == (404, "/nowhere")


@pytest.mark.parametrize("level", ["info", "debug"])
def test_nothing_of_the_image_is_logged(client, lines, capsys, level):
    logged = lines(level)
    exif = Image.Exif()
    exif[0x010E] = "taken at home, 51.5007 N 0.1246 W"
    client.post(URL + "?explain=true", content=encoded(astronaut(), "JPEG", exif=exif))
    client.post(URL, files={"image": ("private-name.png", PHOTO, "image/png")})
    client.post(URL, content=b"my secret text")
    requests = logged()
    assert [line["event"] for line in requests] == ["request"] * 3
    text = json.dumps(requests)
    for private in ("51.5007", "private-name", "secret", base64.b64encode(PHOTO)[:20].decode()):
        assert private not in text
    assert len(text) < 3000


def test_probes_are_quiet_unless_they_fail(client, serve, lines, tmp_path):
    logged = lines()
    for path in ("/health/live", "/health/ready", "/metrics"):
        client.get(path)
    assert logged() == []
    with serve(bundle_path=tmp_path / "nowhere") as broken:
        logged()
        broken.get("/health/live")
        broken.get("/health/ready")
        [line] = logged()
    assert (line["path"], line["status"], line["code"]) == ("/health/ready", 503, "model_unavailable")
    logged()
    lines("debug")
    client.get("/health/live")
    assert [line["path"] for line in logged()] == ["/health/live"]


def test_a_model_that_cannot_be_loaded_is_an_error_in_the_log(serve, lines, fault):
    logged = lines()
    with serve(**fault.settings):
        [line] = [line for line in logged() if line["level"] == "error"]
    assert line["event"] == "model_unavailable"
    assert line["file"] == fault.file
    assert fault.reason in line["reason"]


def test_a_failing_batch_is_logged_with_its_cause(serve, lines, fragile_bundle):
    logged = lines()
    with serve(bundle_path=fragile_bundle) as client:
        ident = client.post(URL, content=PHOTO).headers["x-request-id"]
        events = {line["event"]: line for line in logged()}
    assert "not a finite number" in events["batch_failed"]["exception"]
    assert events["request"]["request_id"] == ident
    assert events["request"]["code"] == "scoring_failed"


def test_lines_of_other_libraries_go_the_same_way(lines):
    logged = lines()
    logging.getLogger("uvicorn.error").info("Application startup %s", "complete")
    logging.getLogger("uvicorn.access").info("GET / 200")
    logging.getLogger("anything").debug("too detailed")
    try:
        raise ValueError("a cause")
    except ValueError:
        logging.getLogger("anything").exception("went wrong")
    started, failed = logged()
    assert (started["event"], started["level"]) == ("Application startup complete", "info")
    assert (failed["event"], failed["level"]) == ("went wrong", "error")
    assert "ValueError: a cause" in failed["exception"]


def test_a_clients_newline_makes_no_line_of_its_own(client, lines):
    logged = lines()
    client.get("/x%0a%7B%22event%22:%22forged%22%7D")
    [line] = logged()
    assert line["event"] == "request"


def test_console_lines_are_for_people(capsys):
    configure_logging(Settings(log_format="console"))
    structlog.get_logger("x").warning("watch_out", limit=3)
    logged = capsys.readouterr().err
    assert "watch_out" in logged
    assert "limit" in logged
    assert not logged.startswith("{")
