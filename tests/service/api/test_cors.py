"""Pages of other origins: which may call, and that nothing changes where none is listed."""

import pytest

from liveness_service.access.policy import AccessError
from liveness_service.app import create_app
from liveness_service.settings import Settings
from support.requests import PHOTO, URL, make_keys

APP = "https://app.example.com"
PREFLIGHT = {"Origin": APP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


def of_cors(response):
    return {name: value for name, value in response.headers.items() if name.startswith("access-control")}


@pytest.fixture(scope="module")
def listed(serve, live_bundle):
    with serve(bundle_path=live_bundle, cors_origins=f"{APP} http://localhost:5173") as client:
        yield client


def test_without_the_setting_no_answer_speaks_of_other_origins(client):
    for response in (client.options(URL, headers=PREFLIGHT), client.post(URL, content=PHOTO, headers={"Origin": APP})):
        assert of_cors(response) == {}
        assert "vary" not in response.headers


def test_a_listed_origin_may_ask_and_read(listed):
    preflight = listed.options(URL, headers=PREFLIGHT)
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == APP
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert {"Content-Type", "Authorization"} <= set(preflight.headers["access-control-allow-headers"].split(", "))
    assert "access-control-allow-credentials" not in preflight.headers
    answer = listed.post(URL, content=PHOTO, headers={"Origin": APP})
    assert answer.json()["verdict"] == "live"
    assert answer.headers["access-control-allow-origin"] == APP
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
    assert answer.headers["vary"] == "Origin"


def test_a_page_may_read_why_it_was_refused(listed, problem_of):
    refused = listed.post(URL, content=b"hello", headers={"Origin": "http://localhost:5173"})
    problem_of(refused, 415, "unsupported_media")
    assert refused.headers["access-control-allow-origin"] == "http://localhost:5173"


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example.com", f"{APP}:8443", "null", APP + "."])
def test_another_origin_may_not(listed, origin):
    preflight = listed.options(URL, headers=PREFLIGHT | {"Origin": origin})
    answer = listed.post(URL, content=PHOTO, headers={"Origin": origin})
    assert of_cors(preflight) == of_cors(answer) == {}
    assert preflight.headers["vary"] == answer.headers["vary"] == "Origin"


def test_operations_and_metrics_are_never_open_to_pages(listed):
    for path in ("/v1/operations/models", "/metrics", "/health/ready", "/docs"):
        assert of_cors(listed.get(path, headers={"Origin": APP})) == {}
        assert of_cors(listed.options(path, headers=PREFLIGHT)) == {}


def test_all_origins_only_without_keys(serve, live_bundle):
    _, entries = make_keys(backend="score")
    with pytest.raises(AccessError, match=r"LIVENESS_CORS_ORIGINS.*list the origins"):
        create_app(Settings(bundle_path=live_bundle, api_keys=entries, cors_origins="*"))
    create_app(Settings(bundle_path=live_bundle, api_keys=entries, cors_origins=APP))
    with serve(bundle_path=live_bundle, cors_origins="*") as client:
        assert client.get("/v1/reasons", headers={"Origin": "null"}).headers["access-control-allow-origin"] == "*"
