import pytest

from liveness_service.access.rate import RateLimiter, network_of
from liveness_service.errors import RateLimitedError


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
