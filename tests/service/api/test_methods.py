"""HEAD, OPTIONS and TRACE, which no route declares."""

import pytest
from support.keys import bearer, make_keys

from support.requests import URL
from support.server import running_server

READABLE = ["/", "/docs", "/openapi.json", "/metrics", "/health/live", "/health/ready", "/v1/models"]
READABLE += ["/v1/operations/models", "/docs/assets/swagger-ui.css"]
CANARY = "/v1/operations/models/canary"
ALLOWED = dict.fromkeys(READABLE, "GET, HEAD, OPTIONS")
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


def test_over_a_real_socket_a_connection_can_go_on_after_each_of_them(tmp_path, live_bundle):
    with running_server(tmp_path, bundle_path=str(live_bundle)) as server, server.client() as client:
        for path in ("/health/ready", "/docs"):
            length = len(client.get(path).content)
            head = client.head(path)
            assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(length))
        assert client.options("/health/live").status_code == 204
        assert client.request("TRACE", "/health/live").status_code == 405
        assert client.get("/health/live").json() == {"status": "live"}
