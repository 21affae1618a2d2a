import re

import pytest
from fastapi import FastAPI

from liveness_service.api.docs import install_docs


def test_the_docs_are_complete_without_the_internet(client):
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    references = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert len(references) == 3
    assert not re.search(r"https?://", page.text)
    for path in references:
        assert path.startswith("/docs/assets/")
        asset = client.get(path)
        assert asset.status_code == 200
        assert len(asset.content) > 100
    assert client.get(references[0]).headers["content-type"].startswith("text/css")
    assert "javascript" in client.get(references[-1]).headers["content-type"]
    [schema] = re.findall(r"url: '([^']+)'", page.text)
    assert client.get(schema).json()["info"]["title"] == "Face liveness"


def test_behind_a_proxy_links_have_its_prefix(serve, live_bundle):
    with serve(bundle_path=live_bundle, root_path="/face") as client:
        page = client.get("/docs").text
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/face"}]
        assert client.get("/v1/models").status_code == 200
    assert set(re.findall(r"""(?:src|href)=["']([^"']+/)[^/"']+["']""", page)) == {"/face/docs/assets/"}
    assert "url: '/face/openapi.json'" in page


def test_a_prefix_that_no_setting_allows_cannot_become_part_of_the_page(client):
    app = FastAPI(docs_url=None)
    install_docs(app, """/x"></script><script>'\\alert(1)//""")
    page = type(client)(app).get("/docs").text
    assert page.count("<script") == 2
    assert "alert(1)" not in page
    assert not re.search(r"""/x["'<>\\]""", page)


@pytest.mark.parametrize("path", ["/docs/assets/../../pyproject.toml", "/docs/assets/%2e%2e/%2e%2e/pyproject.toml"])
def test_only_the_assets_are_served(client, path):
    assert client.get(path).status_code == 404


SCRIPT, STYLE = "/page/page.js", "/page/page.css"


def test_the_demo_page_loads_nothing_from_elsewhere(client):
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    for text in (response.text, client.get(SCRIPT).text, client.get(STYLE).text):
        assert not re.search(r"https?://", text)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'; style-src 'self'; " in policy  # nothing inline
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    assert "connect-src 'self'; " in policy
    assert not re.search(r"""\son\w+=|style=|<style|<script(?! type="module" src=)""", response.text)


def test_the_demo_page_asks_for_what_is_served(client):
    page, script = client.get("/").text, client.get(SCRIPT).text
    asked = {path for path in re.findall(r"""["'`](v1/[a-z/]+)""", script) if not path.startswith("v1/sessions")}
    assert asked == {"v1/liveness", "v1/liveness/video", "v1/models", "v1/reasons"}
    named = re.findall(r'(?:href|src|data-sample|detector-url)="([^"#:,]+)"', page)
    assert {"docs", "page/page.js", "page/page.css", "page/yunet.bin", "page/sample-live.jpg"} <= set(named)
    for path in asked | set(named):
        assert client.get(f"/{path}").status_code in (200, 405)
    offered = re.search(r'<select id="faces">(.*?)</select>', page).group(1)
    for policy in re.findall(r"<option>(\w+)</option>", offered):
        assert client.post(f"/v1/liveness?faces={policy}&explain=true", content=b"x").status_code == 415


def test_the_demo_page_may_play_the_clip_that_was_chosen(client):
    response = client.get("/")
    assert "v1/liveness/video" in client.get(SCRIPT).text
    assert "media-src blob:" in response.headers["content-security-policy"]


def test_the_demo_page_asks_of_clips_what_is_served(client):
    assert "v1/liveness/video" in client.get(SCRIPT).text
    for policy in ("single", "largest"):
        assert client.post(f"/v1/liveness/video?faces={policy}&explain=true", content=b"x").status_code in (415, 501)
    assert client.post("/v1/liveness/video?faces=all", content=b"x").status_code == 422  # the page does not ask it


DOCS = ("/docs", "/docs/assets/swagger-ui.css", "/openapi.json")


def test_the_docs_can_be_switched_off(serve, live_bundle, problem_of):
    with serve(bundle_path=live_bundle, docs=False) as client:
        for path in DOCS:
            problem_of(client.get(path), 404, "not_found")
        assert "/docs" not in problem_of(client.get("/nowhere"), 404, "not_found")["detail"]
        assert "/docs" not in problem_of(client.post("/v1/models"), 405, "method_not_allowed")["detail"]
        page = client.get("/")
        assert page.status_code == 200
        assert re.findall(r'<a href="([^"]+)"', page.text) == []
        assert client.get("/v1/models").status_code == 200


def test_the_files_of_the_page_are_of_their_types_and_sent_once(client):
    kinds = {SCRIPT: "text/javascript", STYLE: "text/css", "/page/yunet.bin": "application/octet-stream"}
    for path, kind in (kinds | {"/page/sample-print.jpg": "image/jpeg"}).items():
        first = client.get(path)
        assert first.headers["content-type"].startswith(kind)
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(path, headers={"If-None-Match": '"old"'}).content == first.content


def test_the_demo_page_can_be_switched_off(serve, live_bundle, problem_of):
    with serve(bundle_path=live_bundle, page=False) as client:
        problem_of(client.get("/"), 404, "not_found")
        problem_of(client.get(SCRIPT), 404, "not_found")
        assert [client.get(path).status_code for path in DOCS] == [200] * 3
