import pytest

from liveness_service.workers import forkserver
from liveness_service.workers.processes import ForkServer
from support import hostile_worker
from support.pools import SPEC, Pool


@pytest.fixture
async def started(monkeypatch):
    """Make pools of hostile workers."""
    monkeypatch.setattr(forkserver, "ENTRY", hostile_worker.__name__)
    monkeypatch.setenv("PYTHONPATH", hostile_worker.environment()["PYTHONPATH"])
    servers, pools = [], []

    async def make(**limits):
        servers.append(ForkServer(limits.get("memory_bytes", 1 << 30)))
        pools.append(Pool(servers[-1], **limits))
        servers[-1].start()
        pools[-1].pool.expect(SPEC)
        await pools[-1].pool.until_ready()
        assert pools[-1].pool.alive == pools[-1].pool.limits.size
        return pools[-1]

    yield make
    for each in pools:
        await each.pool.close()
    for server in servers:
        await server.close()
