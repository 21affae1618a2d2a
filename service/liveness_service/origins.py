"""Origins of web pages, as browsers write them into the header `Origin`: scheme, host, and an unusual port."""

import re

ANY = "*"
_ORIGIN = re.compile(r"https?://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")


def parse_origins(text: str) -> frozenset[str]:
    """Read a list of origins, separated by blanks or commas.

    Raises:
        ValueError: one is not an origin as browsers write it, or `*` is not alone.
    """
    origins = frozenset(text.replace(",", " ").split())
    if ANY in origins and len(origins) > 1:
        raise ValueError("`*` stands for all origins: leave out the others, or leave out `*`")
    for origin in sorted(origins - {ANY}):
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin} is not an origin: write scheme and host in lower case, an unusual port, and no path or "
                "slash at the end, e.g. https://app.example.com"
            )
        scheme, _, port = origin.rpartition(":")
        if (scheme.partition(":")[0], port) in (("http", "80"), ("https", "443")):
            raise ValueError(f"{origin}: leave out the port, as browsers do with the usual one")
    return origins
