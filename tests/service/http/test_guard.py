import asyncio

import pytest

from liveness_service.http.guard import ConnectionLimits, Guard
from liveness_service.observability.metrics import Metrics
from liveness_service.settings import Settings
from support.waiting import until

pytestmark = pytest.mark.anyio


class Connection:
    """A connection that waits since a time, or has a request in work."""

    def __init__(self, address="192.0.2.1", since=None):
        self.address = address
        self.since = since
        self.dropped = False
        self.looked_at = 0

    def waits_since(self):
        return self.since

    def expire(self, now):
        self.looked_at += 1

    def drop(self):
        self.dropped = True


def guard_of(**settings):
    limits = ConnectionLimits.of(Settings(**settings))
    return Guard(limits, Metrics(), is_proxy=lambda address: address == "10.0.0.1")


async def test_there_are_as_many_connections_as_the_limit_says():
    guard = guard_of(max_connections=3, max_connections_per_address=3)
    busy = [Connection() for _ in range(3)]
    assert all(guard.room_for(each) for each in busy)
    assert not guard.room_for(Connection("192.0.2.2"))
    guard.closed(busy[0])
    assert guard.room_for(Connection("192.0.2.2"))
    assert guard.metrics.registry.get_sample_value("liveness_connections") == 3


async def test_the_one_that_waited_longest_makes_room():
    guard = guard_of(max_connections=3, max_connections_per_address=3)
    busy, older, newer = Connection(), Connection(since=1.0), Connection(since=2.0)
    for each in (newer, busy, older):
        assert guard.room_for(each)
    assert guard.room_for(Connection("192.0.2.2"))
    assert (older.dropped, newer.dropped, busy.dropped) == (True, False, False)
    guard.closed(older)  # as its transport says a moment later
    assert guard.metrics.registry.get_sample_value("liveness_connections") == 3
    closed = guard.metrics.registry.get_sample_value("liveness_connections_closed_total", {"reason": "no_room"})
    assert closed == 1


async def test_one_address_has_its_share_and_makes_room_among_its_own():
    guard = guard_of(max_connections=8, max_connections_per_address=2)
    stranger = Connection("192.0.2.9", since=0.0)
    assert guard.room_for(stranger)
    mine = [Connection("2001:db8::1"), Connection("2001:db8::2", since=5.0)]  # one network
    assert all(guard.room_for(each) for each in mine)
    assert guard.room_for(Connection("2001:db8::3"))
    assert mine[1].dropped
    assert not stranger.dropped
    assert not guard.room_for(Connection("2001:db8::4"))
    assert guard.room_for(Connection("2001:db8:1::1"))


async def test_without_a_setting_one_address_has_half_of_them_but_a_proxy_all():
    guard = guard_of(max_connections=4)
    assert [guard.room_for(Connection()) for _ in range(3)] == [True, True, False]
    guard = guard_of(max_connections=4)
    assert [guard.room_for(Connection("10.0.0.1")) for _ in range(5)] == [True] * 4 + [False]
    assert guard_of(max_connections=1).limits.connections_of_one == 1


async def test_it_looks_at_every_connection_again_and_again_while_there_are_any():
    guard = guard_of(header_timeout_ms=100)
    connection = Connection()
    assert guard.room_for(connection)
    await until(lambda: connection.looked_at >= 3)
    guard.closed(connection)
    await asyncio.sleep(0.1)
    looked_at = connection.looked_at
    await asyncio.sleep(0.1)
    assert connection.looked_at == looked_at
    assert guard.room_for(connection)
    await until(lambda: connection.looked_at > looked_at)
