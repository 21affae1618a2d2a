"""Reads the uploaded file of a request: from a form, from JSON or from the body itself, with a limit on its bytes."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from typing import Protocol

from starlette.requests import Request

from liveness_service.access.slots import Upload
from liveness_service.api.form import FormBody
from liveness_service.api.json_body import JsonBody
from liveness_service.errors import (
    EmptyBodyError,
    TooManyBytesError,
    UnsupportedEncodingError,
    UploadTimeoutError,
)
from liveness_service.observability.stages import stage
from liveness_service.shown import shown

_OVERHEAD = 64 * 1024
"""Most bytes around the file: part headers and boundaries of a form, whatever else is in a JSON object."""
_FREE_S = 5.0
"""Seconds of an upload in which its rate does not matter: a phone's connection may stall that long."""


class _Body(Protocol):
    """Reads a request's body of one form while it arrives."""

    def feed(self, chunk: bytes) -> None:
        """Read on."""

    def finish(self) -> bytes:
        """The file, once everything has been fed."""


class _BareFile:
    """A body that is the file itself."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        """Read on."""
        self._chunks.append(chunk)

    def finish(self) -> bytes:
        """The file."""
        return b"".join(self._chunks)


@dataclass(frozen=True, slots=True)
class Expected:
    """The upload that a route takes, and its limits."""

    field: str
    """Name of the form's field that holds the file."""
    noun: str
    """What messages call the file: `image` or `clip`."""
    example: str
    """Example of a file name, for messages."""
    max_bytes: int
    """Most bytes of the file."""
    limit_setting: str
    """Name of the setting for `max_bytes`, for messages."""
    timeout_ms: int
    """How long the upload may take, in milliseconds."""
    min_rate: int = 0
    """Fewest bytes a second, on average after the first `_FREE_S` seconds."""


async def read_upload(request: Request, expected: Expected, upload: Upload) -> bytes:
    """Read the uploaded file: from a form, from a JSON object as base64, else the whole body, of any declared type.

    Args:
        request: the request; its body must not have been read.
        expected: what is to come, and its limits.
        upload: counts the bytes as they arrive.

    Raises:
        EmptyBodyError: the file has no content.
        MalformedBodyError: the form, the JSON object or its base64 text cannot be read.
        InvalidParameterError: the form or the object does not have exactly one such field, with a file.
        TooManyBytesError: the file is too large; the rest of it is not read.
        UploadTimeoutError: the file did not arrive in time, or too slowly.
        UnsupportedEncodingError: the body is compressed; it is not read.
        OverloadedError, TooManyAtOnceError: there is no room in memory for the file; the rest of it is not read.
        ClientDisconnect: the client went away.
    """
    _refuse_compressed(request)
    content_type = request.headers.get("content-type", "")
    kind = _kind(content_type)
    body: _Body = _BareFile()
    limit = expected.max_bytes
    if kind == "multipart/form-data":
        body = FormBody(content_type, expected.field)
        limit += _OVERHEAD
    elif kind == "application/json" or kind.endswith("+json"):
        body = _JsonOrFile(expected)
        limit = 3 * limit // 2 + _OVERHEAD  # base64 takes a third more; line breaks and escapes of + and / the rest
    _refuse_early(request, limit, expected, upload)
    try:
        with stage("upload") as span:
            async with asyncio.timeout(expected.timeout_ms / 1000) as patience:
                async for chunk in _counted(request, limit, expected, upload, patience):
                    body.feed(chunk)
            content = body.finish()
            span.set_attribute("liveness.upload_bytes", len(content))
    except TimeoutError as error:
        raise UploadTimeoutError(
            f"the {expected.noun} did not arrive within {expected.timeout_ms / 1000:g} s, or with fewer than "
            f"{expected.min_rate:,} bytes a second: check the connection, or send a smaller one"
        ) from error
    if not content:
        raise EmptyBodyError(f"the {expected.noun} has 0 bytes: check that the file was read before it was sent")
    if len(content) > expected.max_bytes:
        raise _too_many(expected)
    return content


@lru_cache(maxsize=64)
def _kind(content_type: str) -> str:
    """The type that a header field declares, without its parameters, in small letters."""
    declared = Message()
    declared["content-type"] = content_type
    return declared.get_content_type()


class _JsonOrFile:
    """A body that is declared to be JSON. Clients declare that of a file too, by habit: no file begins as an object."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._body: _Body | None = None

    def feed(self, chunk: bytes) -> None:
        """Read on."""
        if self._body is None:
            is_object = chunk.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"")
            expected = self._expected
            self._body = JsonBody(expected.field, _too_many(expected), expected.max_bytes) if is_object else _BareFile()
        self._body.feed(chunk)

    def finish(self) -> bytes:
        """The file."""
        return b"" if self._body is None else self._body.finish()


def _refuse_compressed(request: Request) -> None:
    codings = request.headers.get("content-encoding", "")
    if codings.strip().lower() not in ("", "identity"):
        raise UnsupportedEncodingError(
            f"the body is compressed (Content-Encoding: {shown(codings)}): send it as it is, since pictures and clips "
            "are compressed already"
        )


def _too_many(expected: Expected) -> TooManyBytesError:
    return TooManyBytesError(
        f"the {expected.noun} is larger than {expected.max_bytes:,} bytes: send a smaller one "
        f"({expected.limit_setting} is the limit)",
        limit=expected.max_bytes,
    )


def _refuse_early(request: Request, limit: int, expected: Expected, upload: Upload) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal():
        if int(declared) > limit:
            raise _too_many(expected)
        upload.announce(int(declared))


async def _counted(
    request: Request, limit: int, expected: Expected, upload: Upload, patience: asyncio.Timeout
) -> AsyncGenerator[bytes, None]:
    began = asyncio.get_running_loop().time()
    last = patience.when()
    if expected.min_rate and last is not None:
        patience.reschedule(min(last, began + _FREE_S))
    async for chunk in request.stream():
        if upload.size + len(chunk) > limit:
            raise _too_many(expected)
        upload.grow(len(chunk))
        if expected.min_rate and last is not None:
            patience.reschedule(min(last, began + _FREE_S + upload.size / expected.min_rate))
        if chunk:
            yield chunk
