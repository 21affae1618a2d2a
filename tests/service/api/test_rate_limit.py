import asyncio
import contextlib
import json
import logging
import time

import pytest
from starlette.testclient import TestClient

from liveness_service.access import rate
from liveness_service.app import create_app
from liveness_service.errors import RateLimitedError
from liveness_service.observability.logs import configure_logging
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint
from support.clips import person_clip
from support.redis import running_redis
from support.requests import PHOTO, URL, Chunks, answer_of, bearer, make_keys
from support.tiny_bundle import make_tiny_bundle

VIDEO_URL = "/v1/liveness/video"
KEYS, ENTRIES = make_keys(backend="score", other="score", prometheus="operations")


@pytest.mark.anyio
async def test_what_is_over_the_limit_is_refused_before_its_body_is_read(running, problem_of, live_bundle):
    async with running(bundle_path=live_bundle, api_keys=ENTRIES, rate_limit="2/hour") as client:
        for _ in range(2):
            answer_of(await client.post(URL, content=PHOTO, headers=bearer(KEYS["backend"])))
        body = Chunks()
        refused = await client.post(URL, content=body, headers=bearer(KEYS["backend"]))
        problem = problem_of(refused, 429, "rate_limited")
        assert 3500 < int(refused.headers["retry-after"]) <= 3600
        assert "backend" in problem["detail"]
        assert body.taken == 0
        # One limit for all that is limited, one count for each key.
        problem_of(await client.get("/v1/models", headers=bearer(KEYS["backend"])), 429, "rate_limited")
        answer_of(await client.post(URL, content=PHOTO, headers=bearer(KEYS["other"])))
        problem_of(await client.post(URL, content=PHOTO), 401, "unauthorized")
        metrics = (await client.get("/metrics", headers=bearer(KEYS["prometheus"]))).text
        assert '\nliveness_rejected_total{reason="rate_limited"} 2.0\n' in metrics
        key_429 = '\nliveness_key_requests_total{endpoint="/v1/liveness",key="backend",status="429"} 1.0\n'
        assert key_429 in metrics


def test_strangers_use_nothing_of_a_keys_limit(serve, live_bundle):
    with serve(bundle_path=live_bundle, api_keys=ENTRIES, rate_limit="1/hour") as client:
        for _ in range(5):
            assert client.post(URL, headers=bearer("lv_wrong")).status_code == 401
            assert client.post(URL, headers=bearer(KEYS["prometheus"])).status_code == 403
        assert client.post(URL, content=PHOTO, headers=bearer(KEYS["backend"])).status_code == 200
        assert client.get("/v1/models", headers=bearer(KEYS["prometheus"])).status_code == 200


def test_probes_metrics_and_pages_are_not_limited(serve, live_bundle):
    with serve(bundle_path=live_bundle, rate_limit="1/hour") as client:
        assert client.post(URL, content=PHOTO).status_code == 200
        assert client.post(URL, content=PHOTO).status_code == 429
        for path in ("/health/live", "/health/ready", "/metrics", "/", "/docs", "/openapi.json"):
            assert [client.get(path).status_code for _ in range(3)] == [200] * 3


def test_without_keys_each_address_has_a_count_of_its_own(live_bundle):
    app = create_app(Settings(bundle_path=live_bundle, rate_limit="1/hour"))
    with TestClient(app, client=("192.0.2.1", 50000)) as one:
        other, same = TestClient(app, client=("192.0.2.2", 50000)), TestClient(app, client=("192.0.2.1", 50001))
        assert one.get("/v1/models").status_code == 200
        assert same.get("/v1/models").status_code == 429
        assert other.get("/v1/models").status_code == 200


def test_after_the_window_it_goes_on(serve, live_bundle):
    with serve(bundle_path=live_bundle, rate_limit="1/second") as client:
        deadline = time.monotonic() + 20
        refused = client.get("/v1/models")
        while refused.status_code != 429:
            assert time.monotonic() < deadline
            refused = client.get("/v1/models")
        time.sleep(int(refused.headers["retry-after"]))
        assert client.get("/v1/models").status_code == 200


def test_two_services_share_one_limit_through_redis(serve, live_bundle, tmp_path):
    with running_redis(tmp_path) as redis:
        settings = {
            "bundle_path": live_bundle,
            "api_keys": ENTRIES,
            "rate_limit": "6/hour",
            "rate_limit_store": redis.url,
        }
        with serve(**settings) as one, serve(**settings) as other:
            statuses = [
                client.get("/v1/models", headers=bearer(KEYS["backend"])).status_code
                for client in (one, other, other, one, other, one, one, other)
            ]
            assert statuses == [200] * 6 + [429] * 2
            refused = other.get("/v1/models", headers=bearer(KEYS["backend"]))
            assert 3500 < int(refused.headers["retry-after"]) <= 3600
            assert other.get("/v1/models", headers=bearer(KEYS["other"])).status_code == 200
        with serve(**settings) as restarted:
            assert restarted.get("/v1/models", headers=bearer(KEYS["backend"])).status_code == 429


@pytest.mark.parametrize("broken", ["refuses connections", "answers nothing"])
def test_without_redis_each_service_counts_for_itself_and_says_so(serve, live_bundle, tmp_path, capsys, broken):
    logging.getLogger("httpx").setLevel(logging.WARNING)
    configure_logging(Settings(log_format="json"))
    with running_redis(tmp_path) as redis:
        if broken == "answers nothing":
            redis.freeze()
        else:
            redis.stop()
        with serve(bundle_path=live_bundle, rate_limit="3/hour", rate_limit_store=redis.url) as client:
            started = time.perf_counter()
            statuses = [client.get("/v1/models").status_code for _ in range(4)]
            # One of them waits for the store; the others do not.
            assert time.perf_counter() - started < 4
            metrics = client.get("/metrics").text
    assert statuses == [200, 200, 200, 429]
    assert "\nliveness_rate_limit_store_failures_total 1.0\n" in metrics
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [failed] = [line for line in lines if line["event"] == "rate_limit_store_failed"]
    assert failed["level"] == "error"
    assert "itself" in failed["note"]


@pytest.mark.anyio
async def test_a_store_that_answers_nothing_holds_up_nobody_else(running, live_bundle, tmp_path):
    with running_redis(tmp_path) as redis:
        redis.freeze()
        async with running(bundle_path=live_bundle, rate_limit="9/hour", rate_limit_store=redis.url) as client:
            waiting = asyncio.create_task(client.get("/v1/models"))
            probes = 0
            while not waiting.done():
                assert (await client.get("/health/live")).status_code == 200
                probes += 1
                await asyncio.sleep(0.01)
            assert (await waiting).status_code == 200
    assert probes > 5


@pytest.mark.anyio
async def test_once_redis_answers_again_it_counts_for_all_again(tmp_path, monkeypatch):
    monkeypatch.setattr(rate, "_STORE_PAUSE_S", 0.1)
    failures = []
    with running_redis(tmp_path) as redis:
        one = rate.RateLimiter("3/hour", redis.url, lambda: failures.append(1))
        other = rate.RateLimiter("3/hour", redis.url, lambda: None)
        await one.take("backend")
        redis.freeze()
        await one.take("backend")
        assert failures == [1]
        redis.thaw()
        await asyncio.sleep(0.2)
        await other.take("backend")
        with contextlib.suppress(RateLimitedError):  # as it is where Redis counted what came while it was frozen
            await other.take("backend")
        with pytest.raises(RateLimitedError):
            await one.take("backend")
        assert failures == [1]
        await one.close()
        await other.close()


@pytest.mark.anyio
async def test_a_caller_who_sends_slowly_takes_no_place_of_another(running, problem_of, live_bundle):
    keys, entries = make_keys(slow="score", other="score")
    settings = {"max_uploads": 2, "max_uploads_per_key": 1, "api_keys": entries}
    async with running(bundle_path=live_bundle, **settings) as client:
        body = Held(PHOTO)
        slow = asyncio.create_task(client.post(URL, content=body, headers=bearer(keys["slow"])))
        await asyncio.wait_for(body.begun.wait(), 20)
        unread = Chunks()
        refused = await client.post(URL, content=unread, headers=bearer(keys["slow"]))
        problem_of(refused, 429, "too_many_at_once")
        assert refused.headers["retry-after"] == "1"
        assert unread.taken == 0
        answer_of(await client.post(URL, content=PHOTO, headers=bearer(keys["other"])))
        body.go.set()
        answer_of(await slow)
        answer_of(await client.post(URL, content=PHOTO, headers=bearer(keys["slow"])))


@pytest.mark.anyio
async def test_of_several_keys_none_holds_the_last_place_for_clips(running, problem_of, clips_path):
    keys, entries = make_keys(greedy="score", other="score")
    async with running(bundle_path=clips_path, max_inflight_clips=2, api_keys=entries) as client:
        service = client._transport.app.state.service
        with service.admit(Endpoint.CLIP, caller="greedy"):
            unread = Chunks()
            refused = await client.post(VIDEO_URL, content=unread, headers=bearer(keys["greedy"]))
            problem = problem_of(refused, 429, "too_many_at_once")
            assert "1 clips of greedy" in problem["detail"]
            assert unread.taken == 0
            answer = answer_of(await client.post(VIDEO_URL, content=person_clip(), headers=bearer(keys["other"])))
            assert answer["verdict"] == "live"
        answer_of(await client.post(VIDEO_URL, content=person_clip(), headers=bearer(keys["greedy"])))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("names", "settings"),
    [
        pytest.param({"only": "score", "prometheus": "operations"}, {}, id="one scoring key"),
        pytest.param({}, {}, id="no keys", marks=pytest.mark.slow),
        pytest.param(
            {"only": "score", "other": "score"},
            {"max_inflight_clips_per_key": 2},
            id="by setting",
            marks=pytest.mark.slow,
        ),
    ],
)
async def test_every_place_for_clips_is_for_one_key_where(names, settings, running, problem_of, clips_path):
    keys, entries = make_keys(**names)
    settings = {"max_inflight_clips": 2, "api_keys": entries or None} | settings
    async with running(bundle_path=clips_path, **settings) as client:
        service = client._transport.app.state.service
        caller, headers = ("only", bearer(keys["only"])) if keys else ("127.0.0.1", {})
        with service.admit(Endpoint.CLIP, caller=caller):
            answer_of(await client.post(VIDEO_URL, content=person_clip(), headers=headers))
            with service.admit(Endpoint.CLIP, caller=caller):
                status, code = (
                    (429, "too_many_at_once") if settings.get("max_inflight_clips_per_key") else (503, "overloaded")
                )
                problem_of(await client.post(VIDEO_URL, content=person_clip(), headers=headers), status, code)


@pytest.fixture(scope="module")
def clips_path(tmp_path_factory):
    """A bundle that scores clips."""
    path = tmp_path_factory.mktemp("bundles") / "clips"
    make_tiny_bundle(path, bias=5, temporal=True)
    return path


class Held:
    """A body whose second half comes when it is let go."""

    def __init__(self, content):
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self._content = content

    async def __aiter__(self):
        yield self._content[:100]
        self.begun.set()
        await self.go.wait()
        yield self._content[100:]
