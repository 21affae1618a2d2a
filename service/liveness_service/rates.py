"""Reads the settings of the rate limit: the rate, and the address of the store that counts requests."""

from limits import RateLimitItem, parse

MEMORY = "memory://"
_STORES = (MEMORY, "redis://", "rediss://")


def parse_rate(text: str) -> RateLimitItem:
    """Read `100/minute`, `10 per second` or `1000/5 minutes`.

    Raises:
        ValueError: the text is not a rate, or has more than one.
    """
    try:
        item = parse(text)
    except ValueError as error:
        raise ValueError("not a rate: write a number and a time, e.g. 100/minute or 10/second") from error
    if any(separator in text for separator in ",;|"):
        raise ValueError("one rate only, e.g. 100/minute")
    if item.amount < 1 or item.multiples < 1:
        raise ValueError("a rate of 0 would refuse everything: remove it, or write at least 1/day")
    return item


def check_store(url: str) -> str:
    """Return the URL if requests can be counted in that store.

    Raises:
        ValueError: the store is not supported; the message lists the supported ones.
    """
    if not url.startswith(_STORES):
        raise ValueError("not a supported store: write memory:// or redis://host:6379 (rediss:// with TLS)")
    return url
