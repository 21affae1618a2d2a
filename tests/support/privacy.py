"""Looks for people's pictures in what a service writes."""

import base64
import re

_PICTURES = {
    "the beginning of a picture or a clip": rb"\xff\xd8\xff|\x89PNG\r\n|RIFF.{4}WEBP|ftyp(isom|mp4|qt  )|\x1aE\xdf\xa3",
    "a picture in base64": rb"/9j/[\w+/]{20}|iVBORw0KGgo|UklGR[\w+/]{20}",
    "a picture as text": rb"\\xff\\xd8\\xff|\\u00ff\\u00d8|x89PNG\\r|u0089PNG\\r",
    "an array of NumPy": rb"\x93NUMPY|\barray\(\[",
    "long base64 or hexadecimal text": rb"[\w+/]{160}",
    "raw bytes as text": rb"(\\+x[0-9a-f]{2}){8}|(\\+u00[0-9a-f]{2}){8}",
    "a long list of numbers": rb"([-+]?\d+(\.\d*)?(e-?\d+)?[,;\s]+){24}",
}
_LOOK = [(name, re.compile(pattern, re.DOTALL)) for name, pattern in _PICTURES.items()]


def leak_in(written: bytes) -> str | None:
    """What a text, such as a log or a span, seems to hold of a picture, a crop or an embedding; None if nothing."""
    for name, pattern in _LOOK:
        if found := pattern.search(written):
            start = max(found.start() - 60, 0)
            return f"{name}: {written[start : found.start() + 80]!r}"
    return None


def disguises(secret: bytes) -> list[bytes]:
    """How some bytes may stand in a file: as they are, in hexadecimal, as Python's text, in base64."""
    encoded = [base64.b64encode(secret[shift:][: (len(secret) - shift) // 3 * 3]) for shift in range(3)]
    return [secret, secret.hex().encode(), repr(secret)[2:-1].encode(), *encoded]
