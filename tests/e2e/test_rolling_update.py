"""What an orchestrator does to put another model in place (docs/kubernetes.md): no request fails.

Two real services behind a balancer of connections, as a Service of Kubernetes is: the new one is ready, new connections
go to it, the old one is asked for a little longer and is then told to stop.
"""

import asyncio
from contextlib import asynccontextmanager

import pytest

from support.load import send_at_rate
from support.pictures import astronaut, encoded
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

PHOTO = encoded(astronaut(), quality=95)
RATE = 8


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def copy(reader, writer):
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the other side sees the end of its stream
    finally:
        writer.close()


@asynccontextmanager
async def balancer(ready):
    """Give each new connection to the last server of the list; its URL."""

    async def connected(reader, writer):
        port = int(ready[-1].url.rsplit(":", 1)[1])
        from_service, to_service = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, to_service), copy(from_service, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.alone
@pytest.mark.anyio
async def test_no_request_fails_while_another_model_takes_over(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        make_tiny_bundle(folder / "bundle", version=folder.name)
    # How fast this machine is does not matter here.
    patient = {"max_inflight": "500", "deadline_ms": "60000"}
    with (
        running_server(first, bundle_path=str(first / "bundle"), **patient) as old,
        running_server(second, bundle_path=str(second / "bundle"), **patient) as new,
    ):
        ready = [old]
        async with balancer(ready) as url:
            load = asyncio.create_task(send_at_rate(url, [PHOTO], RATE, seconds=5))
            await asyncio.sleep(2)
            ready.append(new)
            await asyncio.sleep(0.5)  # preStop: connections that are kept alive still lead to the old one
            assert await asyncio.to_thread(old.stop) == 0
            outcome = await load
    assert not outcome.failures
    assert outcome.statuses == {200: RATE * 5}
    versions = [answer["model"]["version"] for answer in outcome.answers]
    assert set(versions) == {"1", "2"}
    assert versions[-1] == "2"
