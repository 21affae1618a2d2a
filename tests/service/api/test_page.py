import re


def test_the_demo_page_loads_nothing_from_elsewhere(client):
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert not re.search(r"https?://", response.text)
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_the_demo_page_asks_for_what_is_served(client):
    page = client.get("/").text
    for path in re.findall(r"""fetch\('([^'?]+)""", page) + re.findall(r'<a href="([^"]+)"', page):
        assert client.get(f"/{path}").status_code in (200, 405)
    offered = re.search(r'<select id="faces">(.*?)</select>', page).group(1)
    for policy in re.findall(r"<option>(\w+)</option>", offered):
        assert client.post(f"/v1/liveness?faces={policy}&explain=true", content=b"x").status_code == 415


def test_the_demo_page_may_play_the_clip_that_was_chosen(client):
    response = client.get("/")
    assert "v1/liveness/video" in response.text
    assert "media-src blob:" in response.headers["content-security-policy"]


def test_the_demo_page_asks_of_clips_what_is_served(client):
    page = client.get("/").text
    assert "fetch('v1/liveness/video?" in page
    for policy in ("single", "largest"):
        assert client.post(f"/v1/liveness/video?faces={policy}&explain=true", content=b"x").status_code in (415, 501)
    assert client.post("/v1/liveness/video?faces=all", content=b"x").status_code == 422  # the page does not ask it
