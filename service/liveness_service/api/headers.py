"""Headers of every answer: what browsers and caches must not do with it. A route may set its own values."""

from typing import Final

from starlette.datastructures import MutableHeaders

_DEFAULTS: Final = {
    # The declared type is the type: no browser may take a verdict or a problem for a page or a script.
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Verdicts are about people, so nothing on the way may keep them.
    "Cache-Control": "no-store",
    # If an answer is opened as a page nevertheless, it may load nothing, run nothing and not be framed.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def add_security_headers(headers: MutableHeaders) -> None:
    """Add the headers that the answer does not have yet."""
    for name, value in _DEFAULTS.items():
        headers.setdefault(name, value)
