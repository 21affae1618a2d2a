"""What holds of every answer and every path: problems, security headers, HEAD, OPTIONS and TRACE."""

import base64
import hashlib
import re

import pytest

from liveness_service.api.problems import Problem
from liveness_service.app import create_app
from liveness_service.settings import Settings
from support.requests import PHOTO, URL, bearer, make_keys


@pytest.mark.parametrize(
    "path", ["/nowhere", "/v1/liveness/", "/v2/liveness", "/health", "/docs/assets/nothing", "/%00", "/%ff/%2e%2e"]
)
def test_an_unknown_path(client, problem_of, path):
    problem = problem_of(client.get(path, follow_redirects=False), 404, "not_found")
    assert "/docs" in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/liveness", "POST"),
        ("PUT", "/v1/liveness", "POST"),
        ("DELETE", "/v1/liveness", "POST"),
        ("POST", "/health/live", "GET"),
        ("POST", "/v1/models", "GET"),
    ],
)
def test_an_unknown_method_says_which_are_allowed(client, problem_of, method, path, allowed):
    response = client.request(method, path)
    problem_of(response, 405, "method_not_allowed")
    assert allowed in response.headers["allow"]


def test_a_problem_of_the_service_is_the_schema_of_the_docs(client):
    content = client.post("/v1/liveness", content=b"hello").json()
    assert Problem.model_validate(content).model_dump() == content


def test_a_path_with_a_slash_too_many_is_not_redirected_elsewhere(client, problem_of):
    problem_of(client.post("/v1/liveness/", content=b"x", headers={"Host": "evil.example"}), 404, "not_found")


def test_no_problem_is_html_or_a_bare_detail(client):
    responses = [
        client.get("/nowhere"),
        client.get("/v1/liveness"),
        client.post("/v1/liveness"),
        client.post("/v1/liveness?x=1"),
        client.post("/v1/liveness", content=b"hello"),
    ]
    for response in responses:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["detail"] != ""
        assert "Extra inputs" not in response.json()["title"]


ALWAYS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
ASSET, PAGE_FILE = "/docs/assets/swagger-ui-bundle.js", "/page/page.js"


def are_safe(response):
    assert {name: response.headers.get(name) for name in ALWAYS} == ALWAYS, response.request.url
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    cached = response.request.url.path in (ASSET, PAGE_FILE) and response.status_code in (200, 304)
    assert response.headers["cache-control"] == ("no-cache" if cached else "no-store")
    return True


def test_every_route_answers_with_them_whatever_it_answers(client):
    described = set(client.get("/openapi.json").json()["paths"])
    assert {"/metrics", "/health/ready", URL} <= described
    paths = described | {"/", "/docs", "/openapi.json", ASSET, PAGE_FILE, "/docs/assets/nothing.js", "/nowhere"}
    statuses = set()
    for path in sorted(paths):
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE"):
            response = client.request(method, path, content=b"x" if method in ("POST", "PUT", "PATCH") else None)
            assert are_safe(response)
            statuses.add(response.status_code)
    assert {200, 404, 405, 409, 415, 422} <= statuses


def test_verdicts_and_refusals_have_them(serve, live_bundle):
    with serve(bundle_path=live_bundle) as client:
        verdict = client.post(URL, content=PHOTO)
        assert (verdict.status_code, are_safe(verdict)) == (200, True)
    with serve(bundle_path=live_bundle, api_keys=make_keys(backend="score")[1]) as client:
        refused = client.post(URL, content=PHOTO)
        assert (refused.status_code, are_safe(refused)) == (401, True)


def test_a_fault_of_ours_has_them(live_bundle, client):
    app = create_app(Settings(bundle_path=live_bundle))

    @app.get("/fault")
    async def fault():
        raise RuntimeError

    with type(client)(app) as started:
        response = started.get("/fault")
    assert (response.status_code, are_safe(response)) == (500, True)


@pytest.mark.parametrize("root_path", ["", "/face"])
def test_the_docs_run_their_own_scripts_and_no_others(serve, live_bundle, root_path):
    with serve(bundle_path=live_bundle, root_path=root_path) as client:
        page = client.get("/docs")
    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
    [inline] = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["connect-src"] == "'self'"
    assert not re.search(r"""\son\w+=|style=""", page.text)  # what the policy would not let run


def test_an_asset_that_did_not_change_is_not_sent_again(client):
    first = client.get(ASSET)
    again = client.get(ASSET, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, are_safe(again)) == (304, b"", True)


READABLE = ["/", "/docs", "/openapi.json", "/metrics", "/health/live", "/health/ready", "/v1/models", "/v1/reasons"]
READABLE += ["/v1/operations/models", "/docs/assets/swagger-ui.css", PAGE_FILE]
CANARY = "/v1/operations/models/canary"
ALLOWED = dict.fromkeys(READABLE, "GET, HEAD, OPTIONS")
SESSION = "/v1/sessions/5f0c2a9d4b7e4f7f9d3a1c8e6b2f0d47"
ALLOWED |= {"/v1/sessions": "OPTIONS, POST", SESSION: "GET, HEAD, OPTIONS", f"{SESSION}/upload": "OPTIONS, POST"}
ALLOWED |= {URL: "OPTIONS, POST", "/v1/liveness/video": "OPTIONS, POST", CANARY: "DELETE, OPTIONS, PUT"}


@pytest.mark.parametrize("path", READABLE)
def test_head_is_get_without_the_body(client, path):
    got, head = client.get(path), client.head(path)
    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    changing = {"x-request-id", "traceparent", "date"} | ({"content-length"} if path == "/metrics" else set())
    assert _without(head.headers, changing) == _without(got.headers, changing)


def _without(headers, names):
    return {name: value for name, value in headers.items() if name not in names}


def test_head_is_logged_counted_and_refused_as_what_it_is(serve, live_bundle, capsys):
    keys, entries = make_keys(backend="score", operator="operations")
    with serve(bundle_path=live_bundle, api_keys=entries, rate_limit="2/hour") as client:
        assert client.head("/v1/models").status_code == 401
        statuses = [client.head("/v1/models", headers=bearer(keys["backend"])).status_code for _ in range(3)]
        metrics = client.get("/metrics", headers=bearer(keys["operator"])).text
    assert statuses == [200, 200, 429]
    assert 'liveness_requests_total{endpoint="/v1/models",status="200"} 2.0' in metrics
    assert "method=HEAD" in capsys.readouterr().out


@pytest.mark.parametrize(("path", "allowed"), ALLOWED.items())
def test_options_says_what_a_path_takes(client, path, allowed):
    response = client.options(path)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == allowed
    assert "access-control-allow-origin" not in response.headers


def test_options_needs_no_key_and_uses_nothing_of_a_limit(serve, live_bundle):
    _, entries = make_keys(backend="score")
    with serve(bundle_path=live_bundle, api_keys=entries, rate_limit="1/hour") as client:
        assert [client.options(URL).status_code for _ in range(3)] == [204] * 3


@pytest.mark.parametrize(("path", "allowed"), ALLOWED.items())
@pytest.mark.parametrize("method", ["TRACE", "PATCH", "PROPFIND"])
def test_any_other_method_is_refused_and_told_what_is_allowed(client, problem_of, path, allowed, method):
    response = client.request(method, path, headers={"X-Secret": "not to be sent back"})
    problem_of(response, 405, "method_not_allowed")
    assert response.headers["allow"] == allowed
    assert "not to be sent back" not in response.text


def test_head_of_what_cannot_be_read_is_refused_without_a_body(client):
    response = client.head(URL)
    assert (response.status_code, response.content, response.headers["allow"]) == (405, b"", "OPTIONS, POST")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "GET"])
def test_where_nothing_is_every_method_finds_nothing(client, method):
    assert client.request(method, "/nowhere").status_code == 404
