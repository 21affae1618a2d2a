import asyncio

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from liveness_service.api import scoring
from liveness_service.submission import Endpoint
from support.pictures import astronaut, encoded
from support.requests import DARKER, PHOTO, URL, Chunks, answer_of


class Held:
    """An upload that has begun and goes on when it is told to."""

    def __init__(self, content):
        self.content = content
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __aiter__(self):
        yield self.content[:100]
        self.begun.set()
        await self.go_on.wait()
        yield self.content[100:]


@pytest.mark.anyio
async def test_overload_is_refused_before_the_body_is_read_and_the_probes_still_answer(
    running, problem_of, live_bundle
):
    async with running(bundle_path=live_bundle, max_uploads=2, max_uploads_per_key=3) as client:
        uploads = [Held(PHOTO), Held(PHOTO)]
        accepted = [asyncio.create_task(client.post(URL, content=upload)) for upload in uploads]
        for upload in uploads:
            await upload.begun.wait()

        body = Chunks()
        refused = await client.post(URL, content=body)
        problem_of(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert body.taken == 0
        assert (await client.get("/health/live")).json() == {"status": "live"}
        assert (await client.get("/health/ready")).status_code == 200
        metrics = (await client.get("/metrics")).text
        assert "\nliveness_uploads 2.0\n" in metrics
        assert "\nliveness_inflight_requests 0.0\n" in metrics
        assert '\nliveness_rejected_total{reason="overloaded"} 1.0\n' in metrics

        for upload in uploads:
            upload.go_on.set()
        assert [answer_of(await task)["verdict"] for task in accepted] == ["live", "live"]
        assert answer_of(await client.post(URL, content=PHOTO))["verdict"] == "live"


@pytest.mark.anyio
async def test_while_no_slot_is_free_uploads_are_refused_before_they_are_read(running, problem_of, live_bundle):
    async with running(bundle_path=live_bundle, max_inflight=2, max_inflight_per_key=2) as client:
        service = client._transport.app.state.service
        arriving = Held(PHOTO)
        late = asyncio.create_task(client.post(URL, content=arriving))
        await arriving.begun.wait()
        with service.admit(Endpoint.PHOTO, caller="other"), service.admit(Endpoint.PHOTO, caller="other"):
            body = Chunks()
            problem_of(await client.post(URL, content=body), 503, "overloaded")
            assert body.taken == 0
            # One that was let in before has no slot either when it is here.
            arriving.go_on.set()
            problem_of(await late, 503, "overloaded")
        with service.admit(Endpoint.PHOTO, caller="127.0.0.1"), service.admit(Endpoint.CLIP, caller="127.0.0.1"):
            body = Chunks()
            problem_of(await client.post(URL, content=body), 429, "too_many_at_once")
            assert body.taken == 0
        assert answer_of(await client.post(URL, content=PHOTO))["verdict"] == "live"


@pytest.mark.anyio
async def test_nothing_outlives_the_time_of_an_upload_and_its_answer(running, problem_of, live_bundle, monkeypatch):
    async def never(*_):
        await asyncio.sleep(1000)

    monkeypatch.setattr(scoring, "record_verdict", never)
    async with running(bundle_path=live_bundle, upload_timeout_ms=500, deadline_ms=500) as client:
        problem = problem_of(await client.post(URL, content=PHOTO), 504, "deadline_exceeded")
        assert "within 1 s" in problem["detail"]
        assert "\nliveness_inflight_requests 0.0\n" in (await client.get("/metrics")).text


@pytest.mark.anyio
async def test_a_large_picture_does_not_hold_up_the_probes(running, live_bundle):
    large = encoded(np.tile(astronaut(), (8, 8, 1)), "JPEG")
    async with running(bundle_path=live_bundle) as client:
        scoring = asyncio.create_task(client.post(URL, content=large))
        answered = 0
        while not scoring.done():
            assert (await client.get("/health/live")).status_code == 200
            answered += 1
            await asyncio.sleep(0.01)
        assert answer_of(await scoring)["image"] == {"width": 4096, "height": 4096}
    assert answered >= 5


@pytest.mark.anyio
async def test_requests_that_overlap_are_each_answered_once_with_their_own_score(running, graded_bundle):
    async with running(bundle_path=graded_bundle) as client:
        bright, dark = [answer_of(await client.post(URL, content=content))["score"] for content in (PHOTO, DARKER)]
        answers = await asyncio.gather(*(client.post(URL, content=content) for content in [PHOTO, DARKER] * 6))
        scores = [answer_of(response)["score"] for response in answers]
        assert scores == pytest.approx([bright, dark] * 6, abs=1e-6)
        assert len({response.json()["request_id"] for response in answers}) == 12


@pytest.mark.anyio
async def test_a_client_that_hangs_up_is_not_worked_for(running, live_bundle):
    async with running(bundle_path=live_bundle, max_inflight=1, preparation_threads=1) as client:
        app = client._transport.app  # a client that goes away in the middle is beyond httpx
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": URL,
            "raw_path": URL.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-type", b"image/png")],
        }
        for messages in (
            [{"type": "http.request", "body": PHOTO[:100], "more_body": True}, {"type": "http.disconnect"}],
            [{"type": "http.request", "body": PHOTO, "more_body": False}, {"type": "http.disconnect"}],
        ):

            async def receive(left=messages):
                return left.pop(0)

            async def send(message):
                pass

            await asyncio.wait_for(app({**scope, "state": {}}, receive, send), 20)
        # The place is free, nobody was judged, and it is told apart from our faults.
        assert answer_of(await client.post(URL, content=PHOTO))["verdict"] == "live"
        families = text_string_to_metric_families((await client.get("/metrics")).text)
        samples = [
            (sample.name, sample.labels, sample.value)
            for family in families
            for sample in family.samples
            if sample.name in ("liveness_requests_total", "liveness_verdicts_total")
            and sample.labels["endpoint"] == URL
        ]
        assert sorted((name, labels.get("status") or labels["verdict"], value) for name, labels, value in samples) == [
            ("liveness_requests_total", "200", 1.0),
            ("liveness_requests_total", "499", 2.0),
            ("liveness_verdicts_total", "live", 1.0),
        ]
