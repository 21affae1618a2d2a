import asyncio
import json
import logging
import re

import httpx
import pytest
from fastapi import APIRouter, Depends
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel
from starlette.testclient import TestClient

from liveness_service.access.policy import AccessError
from liveness_service.api.access import GuardedRoute, requires
from liveness_service.app import create_app
from liveness_service.keys import Permission
from liveness_service.observability.logs import configure_logging
from liveness_service.settings import Settings
from support.requests import PHOTO, URL, Chunks, answer_of, bearer, make_keys

KEYS, ENTRIES = make_keys(backend="score", prometheus="operations", admin="score+operations")
VIDEO = "/v1/liveness/video"
OF_SESSIONS = {("/v1/sessions", 404), ("/v1/sessions", 422)}
OPEN = {"/", "/docs", "/openapi.json", "/health/live", "/health/ready"}


@pytest.fixture(scope="module")
def guarded(serve, live_bundle):
    with serve(bundle_path=live_bundle, api_keys=ENTRIES) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", URL, {"backend", "admin"}),
        ("POST", VIDEO, {"backend", "admin"}),
        ("GET", "/v1/models", {"backend", "prometheus", "admin"}),
        ("GET", "/v1/reasons", {"backend", "prometheus", "admin"}),
        ("POST", "/v1/sessions", {"backend", "admin"}),
        ("GET", "/v1/sessions/5f0c2a9d4b7e4f7f9d3a1c8e6b2f0d47", {"backend", "admin"}),
        ("GET", "/metrics", {"prometheus", "admin"}),
    ],
)
def test_each_key_opens_what_it_is_for(guarded, problem_of, method, path, allowed):
    for name, key in KEYS.items():
        for headers in (bearer(key), {"Authorization": f"bearer  {key} "}, {"X-API-Key": key}):
            response = guarded.request(method, path, headers=headers)
            if name in allowed:
                # 400: no photo came; 501: the bundle takes no clips; 404 and 422: no session is meant
                assert response.status_code in (200, 400, 501) or (path[:12], response.status_code) in OF_SESSIONS
            else:
                assert name in problem_of(response, 403, "forbidden")["detail"]
    for headers in (
        {},
        bearer(""),
        bearer("lv_wrong"),
        {"X-API-Key": "lv_wrong"},
        {"Authorization": KEYS["admin"]},
        {"Authorization": f"Basic {KEYS['admin']}"},
        {"X-API-Key": ENTRIES.splitlines()[2]},
        {"Cookie": f"key={KEYS['admin']}"},
    ):
        response = guarded.request(method, path, headers=headers)
        problem_of(response, 401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
    problem_of(guarded.request(method, f"{path}?key={KEYS['admin']}&api_key={KEYS['admin']}"), 401, "unauthorized")


def test_everything_that_is_served_asks_for_a_key_but_for_what_is_known_to_be_open(guarded):
    paths = [*guarded.get("/openapi.json").json()["paths"], *OPEN, "/docs/assets/swagger-ui.css"]
    assert len(paths) > 8
    for path in paths:
        statuses = {guarded.request(method, path).status_code for method in ("GET", "POST", "PUT", "DELETE")} - {405}
        is_open = path in OPEN or path.startswith("/docs/")
        assert statuses == ({200} if is_open else {401}), path


@pytest.mark.anyio
async def test_nothing_of_the_body_is_read_and_no_place_is_taken_before_the_key_is_checked(
    running, problem_of, live_bundle
):
    async with running(bundle_path=live_bundle, api_keys=ENTRIES, max_uploads=1, max_uploads_per_key=2) as client:
        for headers, status, code in (
            ({}, 401, "unauthorized"),
            (bearer("lv_wrong"), 401, "unauthorized"),
            (bearer(KEYS["prometheus"]), 403, "forbidden"),
        ):
            for path in (URL, VIDEO, f"{URL}?no_such_parameter=1"):
                body = Chunks()
                problem_of(await client.post(path, content=body, headers=headers), status, code)
                assert body.taken == 0
        # The only place is taken by whoever may: a stranger hears of the key, not of the load.
        busy = asyncio.create_task(client.post(URL, content=Chunks(0.01), headers=bearer(KEYS["backend"])))
        metrics = ""
        while "liveness_uploads 1.0" not in metrics:
            await asyncio.sleep(0.01)  # a request in this process may be answered without a pause for other tasks
            metrics = (await client.get("/metrics", headers=bearer(KEYS["prometheus"]))).text
        problem_of(await client.post(URL, content=PHOTO), 401, "unauthorized")
        problem_of(await client.post(URL, content=PHOTO, headers=bearer(KEYS["backend"])), 503, "overloaded")
        busy.cancel()


class Order(BaseModel):
    name: str


@pytest.mark.anyio
async def test_a_body_that_the_framework_reads_is_not_read_either(live_bundle, problem_of):
    router = APIRouter(
        prefix="/v1/operations",
        route_class=GuardedRoute,
        dependencies=[Depends(requires(Permission.OPERATIONS))],
    )

    @router.post("/order")
    async def order(given: Order) -> dict[str, str]:
        return {"name": given.name}

    app = create_app(Settings(bundle_path=live_bundle, api_keys=ENTRIES, rate_limit="2/hour"))
    app.include_router(router)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        for headers, status, code in (({}, 401, "unauthorized"), (bearer(KEYS["backend"]), 403, "forbidden")):
            body = Chunks()
            problem_of(await client.post("/v1/operations/order", content=body, headers=headers), status, code)
            assert body.taken == 0
        # Checked twice, by the route and as a dependency, and counted once.
        for _ in range(2):
            done = await client.post("/v1/operations/order", json={"name": "x"}, headers=bearer(KEYS["admin"]))
            assert done.json() == {"name": "x"}
        over = await client.post("/v1/operations/order", json={"name": "x"}, headers=bearer(KEYS["admin"]))
        problem_of(over, 429, "rate_limited")
        schema = (await client.get("/openapi.json")).json()
    assert schema["paths"]["/v1/operations/order"]["post"]["security"] == [{"bearer": []}, {"header": []}]


def samples(client, name, headers):
    families = text_string_to_metric_families(client.get("/metrics", headers=headers).text)
    return {
        tuple(value for label, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def test_names_of_keys_are_in_metrics_and_a_clients_words_are_not(serve, live_bundle):
    with serve(bundle_path=live_bundle, api_keys=ENTRIES) as client:
        for name in ("backend", "backend", "admin"):
            answer_of(client.post(URL, content=PHOTO, headers=bearer(KEYS[name])))
        client.post(URL, headers=bearer(KEYS["prometheus"]))
        client.post(URL)
        for number in range(5):
            client.post(URL, headers=bearer(f"lv_wrong{number}"))
        client.get("/health/live", headers=bearer("lv_wrong"))
        requests = samples(client, "liveness_key_requests_total", bearer(KEYS["admin"]))
        verdicts = samples(client, "liveness_key_verdicts_total", bearer(KEYS["admin"]))
    assert {labels: count for labels, count in requests.items() if labels[0] != "/metrics"} == {
        (URL, "backend", "200"): 2,
        (URL, "admin", "200"): 1,
        (URL, "prometheus", "403"): 1,
        (URL, "none", "401"): 1,
        (URL, "unknown", "401"): 5,
        ("/health/live", "none", "200"): 1,
    }
    assert {key for _, key, _ in requests} <= {"backend", "admin", "prometheus", "none", "unknown"}
    assert verdicts == {(URL, "backend", "live"): 2, (URL, "admin", "live"): 1}


@pytest.mark.parametrize("style", ["json", "console"])
def test_the_log_has_the_name_of_the_key_and_never_the_key(serve, live_bundle, capsys, style):
    logging.getLogger("httpx").setLevel(logging.WARNING)
    configure_logging(Settings(log_format=style, log_level="debug"))
    app = create_app(Settings(bundle_path=live_bundle, api_keys=ENTRIES))

    @app.get("/fault", dependencies=[Depends(requires(Permission.SCORE))])
    async def fault() -> None:
        raise RuntimeError("a fault of ours")

    with TestClient(app) as client:
        for headers in (bearer(KEYS["backend"]), {"X-API-Key": KEYS["backend"]}, bearer("lv_wrong"), {}):
            client.post(URL, content=PHOTO, headers=headers)
        assert client.get("/fault", headers=bearer(KEYS["backend"])).status_code == 500
    written = capsys.readouterr().err
    assert "a fault of ours" in written
    for key in (*KEYS.values(), "lv_wrong"):
        assert key not in written
        assert key[3:20] not in written
    if style == "json":
        lines = [json.loads(line) for line in written.splitlines()]
        assert [line["key"] for line in lines if line["event"] == "request"] == [
            "backend",
            "backend",
            "unknown",
            "none",
            "backend",
        ]
        [access] = [line for line in lines if line["event"] == "access"]
        assert (access["mode"], access["keys"]) == ("keys", ["admin", "backend", "prometheus"])


@pytest.mark.parametrize(
    ("settings", "mode", "level"),
    [({}, "open_on_loopback", "info"), ({"host": "0.0.0.0", "allow_anonymous": True}, "open_by_setting", "warning")],
)
def test_without_keys_it_is_open_and_the_log_says_why(serve, live_bundle, capsys, settings, mode, level):
    logging.getLogger("httpx").setLevel(logging.WARNING)
    configure_logging(Settings(log_format="json"))
    with serve(bundle_path=live_bundle, **settings) as client:
        assert answer_of(client.post(URL, content=PHOTO, headers=bearer("lv_any")))["verdict"] == "live"
        assert client.get("/metrics").status_code == 200
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [access] = [line for line in lines if line["event"] == "access"]
    assert (access["mode"], access["level"], access["keys"]) == (mode, level, [])
    assert {line["key"] for line in lines if line["event"] == "request"} == {"none"}


def test_an_app_that_others_can_reach_is_not_made_without_keys(live_bundle):
    with pytest.raises(AccessError, match="liveness keys new"):
        create_app(Settings(bundle_path=live_bundle, host="0.0.0.0"))


def test_the_description_says_how_to_present_a_key_and_where(guarded):
    schema = guarded.get("/openapi.json").json()
    schemes = schema["components"]["securitySchemes"]
    assert {(each["type"], each.get("scheme"), each.get("name")) for each in schemes.values()} == {
        ("http", "bearer", None),
        ("apiKey", None, "X-API-Key"),
    }
    assert {"bearer", "header", "session_token"} == set(schemes)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            # Each alone: either header will do.
            wanted = None if path.startswith("/health/") else [{"bearer": []}, {"header": []}]
            wanted = [{"session_token": []}] if path.endswith("/upload") else wanted
            assert operation.get("security") == wanted, path
            if wanted:
                assert "401" in operation["responses"]
                assert ("403" in operation["responses"]) == (not path.endswith("/upload"))
                assert ("429" in operation["responses"]) == (path != "/metrics")


def test_the_demo_page_asks_for_a_key_when_one_is_needed_and_keeps_it_nowhere(guarded):
    html, script = guarded.get("/").text, guarded.get("/page/page.js").text
    assert 'data-keys="yes"' in html
    assert re.search(r'<input[^>]*type="password"[^>]*id="key"', html)
    assert re.search(r"""\.code===["'`]unauthorized""", script)
    assert "Authorization" in script
    page = html + script
    assert not re.search(r"localStorage|sessionStorage|cookie|indexedDB|location", page)
