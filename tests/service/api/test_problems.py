import pytest

from liveness_service.api.problems import Problem


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
