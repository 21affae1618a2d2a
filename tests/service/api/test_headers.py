"""Headers with which every answer tells browsers and caches what not to do with it."""

import base64
import hashlib
import re

import pytest
from support.keys import make_keys

from liveness_service.app import create_app
from liveness_service.settings import Settings
from support.requests import PHOTO, URL

ALWAYS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
ASSET = "/docs/assets/swagger-ui-bundle.js"


def are_safe(response):
    assert {name: response.headers.get(name) for name in ALWAYS} == ALWAYS, response.request.url
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    cached = response.request.url.path == ASSET and response.status_code in (200, 304)
    assert response.headers["cache-control"] == ("no-cache" if cached else "no-store")
    return True


def test_every_route_answers_with_them_whatever_it_answers(client):
    described = set(client.get("/openapi.json").json()["paths"])
    assert {"/metrics", "/health/ready", URL} <= described
    paths = described | {"/", "/docs", "/openapi.json", ASSET, "/docs/assets/nothing.js", "/nowhere"}
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
