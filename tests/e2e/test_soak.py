"""A good minute under load: the service neither grows nor slows down. The long form is `tests/support/soak.py`."""

import asyncio

import pytest

from support.server import running_server
from support.soak import soak


@pytest.mark.alone
@pytest.mark.slow
def test_memory_and_latency_stay_flat_under_load(tmp_path):
    with running_server(tmp_path) as server:
        # Less than the 70 % of the recorded run: what else the machine does in this time must refuse nothing.
        done = asyncio.run(soak(server, minutes=1.2, parts=12, load=0.4))
        assert server.stop() == 0
    assert sum(part.not_answered for part in done.parts) == 0, done
    # So soon the pools of memory still fill, a slope says little. The recorded run holds it to 1 MB a minute.
    half = done.parts[len(done.parts) // 2]
    assert done.after.memory_mb < 1.08 * half.memory_mb, done.summary()
    assert done.p99_ratio < 3, done.summary()
    assert done.after.descriptors <= done.before.descriptors + 10
    assert done.after.processes <= done.before.processes
