"""Workers of a service in the tests' own process: they answer as threads do. See also tests/e2e/test_workers.py."""

import asyncio
import os
import sys
import time

import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from liveness_core.detection import DetectorSpec
from liveness_core.views import View
from liveness_service.app import create_app
from liveness_service.errors import (
    DeadlineExceededError,
    DecoderFailedError,
    ScoringFailedError,
    ServiceError,
)
from liveness_service.observability.metrics import Metrics
from liveness_service.observability.tracing import Tracing
from liveness_service.settings import Settings
from liveness_service.workers import forkserver
from liveness_service.workers.memory import SharedMemory
from liveness_service.workers.messages import MAX_DOCUMENT_BYTES, Done
from liveness_service.workers.preparer import Workers
from liveness_service.workers.processes import ForkServer
from liveness_service.workers.worker import PoolLimits
from support.clips import cut_clip, person_clip
from support.pictures import astronaut, encoded, two_faces
from support.pools import SPEC, Pool
from support.small_pictures import png
from support.tiny_bundle import make_tiny_bundle

PHOTO = encoded(astronaut(), "JPEG")


class Service:
    """A client of a traced service, and the spans of its last request."""

    def __init__(self, client, exporter):
        self.client = client
        self._exporter = exporter

    def ask(self, path, content, **query):
        self._exporter.clear()
        answer = self.client.post(f"/v1/liveness{path}", content=content, params=query)
        ends_at = time.monotonic() + 10
        while not self._servers() and time.monotonic() < ends_at:
            time.sleep(0.01)
        return answer

    def _servers(self):
        return [span for span in self._exporter.get_finished_spans() if span.kind is SpanKind.SERVER]

    def tree(self):
        """Name, name of the parent, attributes and status of each span of a stage."""
        spans = self._exporter.get_finished_spans()
        named = {span.context.span_id: span.name for span in spans}
        return sorted(
            (span.name, named.get(span.parent.span_id), sorted(span.attributes.items()), span.status.status_code.name)
            for span in spans
            if span.kind is not SpanKind.SERVER and span.name != "upload"
        )

    def spans(self):
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture(scope="module")
def services(client, tmp_path_factory):
    """The same service with workers and without."""
    path = tmp_path_factory.mktemp("bundles") / "clips"
    make_tiny_bundle(path, bias=3, gain=0.5, temporal=True)
    started, entered = {}, []
    for name, workers in (("threads", 0), ("workers", 1)):
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        app = create_app(
            Settings(bundle_path=path, workers=workers), Tracing(provider.get_tracer("tests"), provider.shutdown)
        )
        entered.append(type(client)(app))
        started[name] = Service(entered[-1].__enter__(), exporter)
    yield started
    for each in entered:
        each.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("path", "make", "query"),
    [
        pytest.param("", lambda: PHOTO, {}, id="photo"),
        pytest.param("", lambda: encoded(two_faces()), {}, id="refused photo"),
        pytest.param("", lambda: encoded(two_faces()), {"faces": "all", "explain": "true"}, id="heat maps"),
        pytest.param("", lambda: encoded(two_faces()), {"faces": "largest"}, id="largest"),
        pytest.param("", lambda: encoded(np.zeros((64, 64, 3), np.uint8), "PNG"), {}, id="no face"),
        pytest.param("", lambda: PHOTO[:3000], {}, id="damaged"),
        pytest.param("", lambda: b"hello", {}, id="no picture"),
        pytest.param("", lambda: png(8000, 8000), {}, id="too many pixels"),
        pytest.param("/video", person_clip, {"explain": "true"}, id="clip"),
        pytest.param("/video", cut_clip, {}, id="refused clip", marks=pytest.mark.slow),
        pytest.param("/video", lambda: person_clip()[:2000], {}, id="damaged clip"),
    ],
)
def test_workers_answer_as_threads_do_and_tell_the_same_stages(services, path, make, query):
    content, answers, trees = make(), {}, {}
    for name, service in services.items():
        answer = service.ask(path, content, **query)
        own = ("request_id", "timings_ms")
        answers[name] = answer.status_code, {key: value for key, value in answer.json().items() if key not in own}
        trees[name] = service.tree()
    assert answers["workers"] == answers["threads"]
    assert trees["workers"] == trees["threads"]


def test_stages_of_workers_have_their_times(services):
    answer = services["workers"].ask("", PHOTO)
    timings = answer.json()["timings_ms"]
    spans = services["workers"].spans()
    server = spans["POST /v1/liveness"]
    for name in ("decode", "detect", "align"):
        assert timings[name] > 0
        took_ms = (spans[name].end_time - spans[name].start_time) / 1e6
        assert took_ms == pytest.approx(timings[name], rel=0.5, abs=3)
        assert server.start_time <= spans[name].start_time <= spans[name].end_time <= server.end_time
    assert sum(timings[name] for name in ("decode", "detect", "align", "queue", "infer")) <= timings["total"]


def test_without_workers_there_are_none_and_other_systems_are_told(monkeypatch, capsys):
    assert Workers.of(Settings(workers=0), Metrics()) is None
    assert Workers.of(Settings(workers=1), Metrics()) is not None
    assert "workers_find_faces_on_cpu" not in capsys.readouterr().out
    assert Workers.of(Settings(workers=1, provider="cuda"), Metrics()) is not None
    assert "workers_find_faces_on_cpu" in capsys.readouterr().out
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Workers.of(Settings(workers=1), Metrics()) is None
    assert "workers_unsupported" in capsys.readouterr().out


def test_as_many_workers_as_preparation_threads_unless_it_is_said(monkeypatch):
    monkeypatch.delenv("LIVENESS_WORKERS")
    assert Settings(preparation_threads=3).worker_count == 3
    assert Settings(preparation_threads=3, workers=0).worker_count == 0
    assert Settings(preparation_threads=3, workers=5).worker_count == 5


@pytest.mark.anyio
async def test_uploads_whose_callers_left_are_not_begun_and_the_next_one_is(started):
    made = await started()
    hanging = asyncio.create_task(made.prepare(b"hang"))
    await asyncio.sleep(0.1)
    left = [asyncio.create_task(made.prepare(b"abort")) for _ in range(3)]
    waiting = asyncio.create_task(made.prepare(PHOTO))
    await asyncio.sleep(0.1)
    for task in left:
        task.cancel()
    with pytest.raises(DeadlineExceededError):
        await hanging
    assert (await waiting).facts.width == 512
    assert made.ends == ["deadline"]  # none has crashed


@pytest.mark.anyio
@pytest.mark.parametrize(("start_s", "ends"), [(0.0, ["abandoned"]), pytest.param(20.0, [], marks=pytest.mark.slow)])
async def test_an_upload_that_nobody_waits_for_is_ended_when_a_new_worker_costs_less(started, start_s, ends):
    made = await started()
    made.pool._health.start_s = start_s
    left = asyncio.create_task(made.prepare(b"pause 1.2"))
    await asyncio.sleep(0.1)
    left.cancel()
    assert (await made.prepare(PHOTO)).facts.width == 512
    assert made.ends == ends


@pytest.mark.anyio
async def test_more_than_can_be_done_in_time_is_refused_at_once_and_the_rest_is_done(started):
    made = await started()
    began, outcomes = time.monotonic(), []

    async def upload():
        since = time.monotonic()
        try:
            async with asyncio.timeout(2):
                await made.prepare(b"pause 0.3")
        except ServiceError as error:
            outcomes.append((error.code, time.monotonic() - since))
        except TimeoutError:
            outcomes.append(("late", 2.0))

    async with asyncio.TaskGroup() as group:
        for number in range(40):  # three times as many as it can do
            await asyncio.sleep(max(0.0, began + number / 10 - time.monotonic()))
            group.create_task(upload())
    done = [code for code, _ in outcomes].count("unsupported_media")
    refused = [seconds for code, seconds in outcomes if code == "overloaded"]
    assert done >= 8, outcomes  # 13 and those that wait at the end on an idle machine
    assert len(refused) >= 12
    assert sorted(refused)[len(refused) // 2] < 0.1
    assert made.ends == []


@pytest.mark.anyio
async def test_a_worker_prepares_for_several_models(started):
    made = await started()
    other = SPEC.model_copy(
        update={"views": (View(size=224), View(name="small", size=96)), "detector": DetectorSpec(min_confidence=0.5)}
    )
    for spec, sizes in ((SPEC, [160]), (other, [224, 96]), (SPEC, [160])):
        prepared = await made.prepare(PHOTO, spec)
        [crops] = prepared.crops
        assert [crop.shape for crop in crops] == [(size, size, 3) for size in sizes]
    assert made.ends == []


@pytest.mark.slow  # two seconds of a core; tests/e2e/test_workers.py asks it of a real service
@pytest.mark.anyio
async def test_processor_time_is_bounded(started):
    made = await started(deadline_s=60.0)
    made.pool.limits = PoolLimits(1, 1 << 30, 1.0)
    spinning = asyncio.create_task(made.prepare(b"spin"))
    await asyncio.sleep(0.1)
    made.pool.limits = PoolLimits(1, 1 << 30, 60.0)  # the task has its bound of a second; the watch does not end it
    with pytest.raises(DecoderFailedError, match="processor time"):
        await asyncio.wait_for(spinning, 40)
    assert made.ends == ["processor_time"]


@pytest.mark.anyio
async def test_a_detector_that_fails_is_answered_as_where_threads_prepare(started, capsys):
    made = await started()
    with pytest.raises(ScoringFailedError, match="face detector"):
        await made.prepare(b"network")
    assert "cannot run this picture" in capsys.readouterr().out
    assert made.ends == []


@pytest.mark.anyio
async def test_workers_that_cannot_start_are_a_fault_and_tried_again_with_pauses(monkeypatch):
    monkeypatch.setattr(forkserver, "ENTRY", "liveness_service.keys")  # it has no function `work`
    server = ForkServer(1 << 30)
    made = Pool(server)
    server.start()
    made.pool.expect(SPEC)
    try:
        await asyncio.sleep(0.2)
        assert made.pool.alive == 0
        made.pool._health.started_at -= 30  # half a minute later
        assert "can be started" in made.pool.fault
    finally:
        await made.pool.close()
        await server.close()


@pytest.mark.slow  # starts a worker four times
@pytest.mark.anyio
async def test_a_detector_that_cannot_be_loaded_is_a_fault_until_it_can_be(started):
    made = await started()
    broken = SPEC.model_copy(update={"detector": DetectorSpec(name="yunet"), "detector_model": "/nowhere.onnx"})
    made.pool.expect(broken)
    ends_at = time.monotonic() + 20
    while made.pool.fault is None and time.monotonic() < ends_at:  # noqa: ASYNC110 (nothing tells it)
        await asyncio.sleep(0.05)
    assert "can be started" in made.pool.fault
    assert set(made.ends) == {"not_ready"}
    made.pool.expect(SPEC)
    assert (await asyncio.wait_for(made.prepare(PHOTO), 20)).facts.crops == 1
    assert made.pool.fault is None


@pytest.mark.anyio
async def test_workers_leave_a_busy_core_to_the_service(started):
    rig = await started(size=2)
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    its = [os.getpriority(os.PRIO_PROCESS, worker.process.pid) for worker in rig.pool._workers]
    assert its
    assert all(nice > ours or nice == 19 for nice in its)


def test_shared_memory_is_of_a_fixed_size_and_uploads_of_a_fixed_content():
    with SharedMemory.holding(b"upload") as memory:
        assert memory.read(0, 6) == b"upload"
        assert memory.read(2, 4) == b"load"
        with pytest.raises(ValueError, match="not within"):
            memory.read(1, 6)
        with pytest.raises(OSError, match="not permitted"):
            os.pwrite(memory.fd, b"x", 0)
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(memory.fd, 0)
    with SharedMemory.empty(10) as memory:
        assert os.pwrite(memory.fd, b"x", 9) == 1
        assert memory.read(9, 1) == b"x"
        for size in (9, 11):
            with pytest.raises(OSError, match="not permitted"):
                os.ftruncate(memory.fd, size)


def test_an_answer_has_as_many_bytes_as_are_read_and_no_more():
    assert Done(document_bytes=MAX_DOCUMENT_BYTES)
    for wrong in (1, MAX_DOCUMENT_BYTES + 1):
        with pytest.raises(ValidationError):
            Done(document_bytes=wrong)
