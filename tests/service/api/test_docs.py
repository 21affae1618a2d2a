import re

import pytest


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


@pytest.mark.parametrize("path", ["/docs/assets/../../pyproject.toml", "/docs/assets/%2e%2e/%2e%2e/pyproject.toml"])
def test_only_the_assets_are_served(client, path):
    assert client.get(path).status_code == 404
