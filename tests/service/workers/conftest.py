import pytest

from liveness_service.workers import forkserver
from liveness_service.workers.processes import ForkServer
from support import hostile_worker
from support.pools import SPEC, Pool


@pytest.fixture(scope="module")
def anyio_backend():
    """One event loop for a file, since its fork servers live in it."""
    return "asyncio"


@pytest.fixture(scope="module")
async def fork_server():
    """Fork servers of hostile workers, one for each bound on memory: half a second of imports for each."""
    servers = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forkserver, "ENTRY", hostile_worker.__name__)
        patch.setenv("PYTHONPATH", hostile_worker.environment()["PYTHONPATH"])

        def make(memory_bytes):
            if memory_bytes not in servers:
                servers[memory_bytes] = ForkServer(memory_bytes)
                servers[memory_bytes].start()
            return servers[memory_bytes]

        yield make
        for server in servers.values():
            await server.close()


@pytest.fixture
async def started(fork_server):
    """Make pools of hostile workers."""
    pools = []

    async def make(**limits):
        pools.append(Pool(fork_server(limits.get("memory_bytes", 1 << 30)), **limits))
        pools[-1].pool.expect(SPEC)
        await pools[-1].pool.until_ready()
        assert pools[-1].pool.alive == pools[-1].pool.limits.size
        return pools[-1]

    yield make
    for each in pools:
        await each.pool.close()
