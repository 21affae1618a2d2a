import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import StreamingResponse

from liveness_service.app import create_app
from liveness_service.settings import Settings


@pytest.mark.parametrize("given", ["abc", "01JZ7V0E8M3Q4N9T6B2C5D7F8G", "a.b_c-D", "x" * 64])
def test_a_sane_request_id_is_the_clients(client, given):
    response = client.post("/v1/liveness", headers={"X-Request-ID": given}, content=b"x")
    assert response.headers["x-request-id"] == response.json()["request_id"] == given


@pytest.mark.parametrize(
    "given", ["", "x" * 65, "a b", "a/b", '{"a":1}', "<script>", "x\ty", "a;b", "ü".encode("latin-1")]
)
def test_any_other_request_id_is_replaced(client, given):
    response = client.get("/nowhere", headers={"X-Request-ID": given})
    ident = response.headers["x-request-id"]
    assert ident != given
    assert len(ident) == 26
    assert ident == response.json()["request_id"]


def test_every_request_has_an_id_of_its_own(client):
    idents = [client.get(path).headers["x-request-id"] for path in ("/health/live", "/docs", "/metrics", "/nowhere")]
    assert len(set(idents)) == len(idents)


@pytest.fixture
def faulty(live_bundle):
    """The app with a fault of ours in it: before its answer, and in the middle of one."""

    app = create_app(Settings(bundle_path=live_bundle))

    @app.get("/fault")
    async def fault():
        raise RuntimeError("secret: the password is hunter2")

    @app.get("/half")
    async def half():
        async def body():
            yield b"half"
            raise RuntimeError("secret: the password is hunter2")

        return StreamingResponse(body())

    return app


def test_a_fault_of_ours_tells_nothing_but_where_to_look(faulty, client, problem_of, capsys):
    with type(client)(faulty) as started:
        response = started.get("/fault", headers={"X-Request-ID": "look-for-me"})
        problem = problem_of(response, 500, "internal_error")
        assert "hunter2" not in response.text
        assert "look-for-me" in problem["detail"]
        logged = capsys.readouterr().out
        assert "hunter2" in logged
        assert "look-for-me" in logged
        assert started.get("/health/live").status_code == 200
        families = text_string_to_metric_families(started.get("/metrics").text)
        statuses = {
            sample.labels["status"]
            for family in families
            for sample in family.samples
            if sample.name == "liveness_requests_total" and sample.labels["endpoint"] == "/fault"
        }
        assert statuses == {"500"}


def test_half_an_answer_is_not_made_to_look_whole(faulty, client):
    with type(client)(faulty) as started, pytest.raises(RuntimeError, match="hunter2"):
        started.get("/half")
