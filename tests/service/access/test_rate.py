import asyncio
import time

import pytest

from liveness_service.access.rate import FixedWindows, RateLimiter, network_of
from liveness_service.errors import RateLimitedError
from liveness_service.rates import parse_rate


@pytest.mark.parametrize(
    ("text", "amount", "seconds"),
    [("100/minute", 100, 60), ("10/second", 10, 1), ("1000/5 minutes", 1000, 300), ("5 per hour", 5, 3600)],
)
def test_rates_are_read_as_people_write_them(text, amount, seconds):
    item = parse_rate(text)
    assert (item.amount, item.get_expiry()) == (amount, seconds)


@pytest.mark.parametrize("text", ["", "100", "minute", "100/", "/minute", "-1/minute", "100/fortnight", "0/minute"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError, match="rate"):
        parse_rate(text)


def test_two_rates_are_not_silently_one():
    with pytest.raises(ValueError, match="one rate only"):
        parse_rate("100/minute;5/second")


@pytest.mark.anyio
async def test_each_caller_has_a_count_of_its_own():
    limiter = RateLimiter("2/hour", "memory://", lambda: None)
    for who in ("backend", "other", "backend", "other"):
        await limiter.take(who)
    for who in ("backend", "other"):
        with pytest.raises(RateLimitedError, match=f"for {who}") as raised:
            await limiter.take(who)
        assert 3590 < raised.value.retry_after_s <= 3600
        assert raised.value.headers == {"Retry-After": str(raised.value.retry_after_s)}


@pytest.mark.anyio
@pytest.mark.parametrize("jump_s", [-10 * 86400, 10 * 86400], ids=["back", "forward"])
async def test_a_clock_that_is_set_changes_no_limit(monkeypatch, jump_s):
    limiter = RateLimiter("2/hour", "memory://", lambda: None)
    await limiter.take("backend")
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + jump_s)
    await limiter.take("backend")
    with pytest.raises(RateLimitedError) as raised:
        await limiter.take("backend")
    assert 3590 < raised.value.retry_after_s <= 3600


@pytest.mark.anyio
async def test_a_clock_that_is_set_back_refuses_nobody_after_the_window(monkeypatch):
    limiter = RateLimiter("1/second", "memory://", lambda: None)
    await limiter.take("backend")
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() - 10 * 86400)
    await asyncio.sleep(1.01)
    await limiter.take("backend")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1:2:3", "2001:db8::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_a_client_with_a_whole_ipv6_network_is_one_client(address, network):
    assert network_of(address) == network


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def windows(clock):
    return FixedWindows(2, 60, clock)


def test_a_window_takes_its_limit_and_says_how_long_to_wait(windows, clock):
    assert windows.take("a") is None
    clock.now += 20
    assert windows.take("a") is None
    clock.now += 0.5
    assert windows.take("a") == 39.5
    assert windows.take("b") is None


def test_the_window_begins_with_the_first_request_and_ends_when_it_was_said(windows, clock):
    windows.take("a")
    windows.take("a")
    clock.now += 59.99
    assert windows.take("a") == pytest.approx(0.01)
    clock.now += 0.01
    assert windows.take("a") is None
    assert windows.take("a") is None
    assert windows.take("a") == pytest.approx(60)


def test_callers_who_are_gone_take_no_memory(windows, clock):
    for number in range(1000):
        windows.take(f"early-{number}")
    clock.now += 30
    windows.take("late")
    assert len(windows) == 1001
    clock.now += 30
    windows.take("now")
    assert len(windows) == 2
