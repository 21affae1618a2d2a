"""Reads the uploaded file of a request: from a form or from the body itself, in memory, with a limit on its bytes."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from email.message import Message

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from liveness_service.access.slots import Upload
from liveness_service.errors import (
    EmptyBodyError,
    InvalidParameterError,
    MalformedBodyError,
    ServiceError,
    TooManyBytesError,
    UploadTimeoutError,
    shown,
)
from liveness_service.observability.stages import stage

_FORM_OVERHEAD = 64 * 1024  # part headers and boundaries around the file
_MAX_FIELDS = 16
_FREE_S = 5.0
"""Seconds of an upload in which its rate does not matter: a phone's connection may stall that long."""


class _InMemoryParser(MultiPartParser):
    """Starlette's parser of forms, with two changes.

    It keeps files in memory: uploads are bounded, and a container's disk may be read-only. And a form that ends too
    early is an error.
    """

    spool_max_size = 1 << 40

    def __init__(self, headers: Headers, chunks: AsyncGenerator[bytes, None]) -> None:
        # A second file or another field is always a mistake. A few are accepted, so that the error can name them.
        super().__init__(headers, self._until_complete(chunks), max_files=4, max_fields=_MAX_FIELDS)
        self._complete = False

    def on_end(self) -> None:
        """Remember that the closing boundary was there; the parser calls this at the form's end."""
        self._complete = True

    async def _until_complete(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in chunks:
            yield chunk
        if not self._complete:
            raise MultiPartException("it ends before its closing boundary: check that it was sent whole")


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
    """Read the uploaded file: from the form's field if the body is a form, else the whole body, of any declared type.

    Args:
        request: the request; its body must not have been read.
        expected: what is to come, and its limits.
        upload: counts the bytes as they arrive.

    Raises:
        EmptyBodyError: the file has no content.
        MalformedBodyError: the form cannot be read.
        InvalidParameterError: the form does not have exactly one such field, with a file.
        TooManyBytesError: the file is too large; the rest of it is not read.
        UploadTimeoutError: the file did not arrive in time, or too slowly.
        OverloadedError, TooManyAtOnceError: there is no room in memory for the file; the rest of it is not read.
        ClientDisconnect: the client went away.
    """
    declared = Message()
    declared["content-type"] = request.headers.get("content-type", "")
    is_form = declared.get_content_type() == "multipart/form-data"
    limit = expected.max_bytes + (_FORM_OVERHEAD if is_form else 0)
    _refuse_early(request, limit, expected, upload)
    try:
        with stage("upload") as span:
            async with asyncio.timeout(expected.timeout_ms / 1000) as patience:
                chunks = _counted(request, limit, expected, upload, patience)
                content = (
                    await _from_form(request, chunks, expected)
                    if is_form
                    else b"".join([chunk async for chunk in chunks])
                )
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


async def _from_form(request: Request, chunks: AsyncGenerator[bytes, None], expected: Expected) -> bytes:
    form = await _parse(request, chunks)
    field = expected.field
    try:
        values = form.getlist(field)
        if len(values) != 1:
            held = shown(", ".join(sorted(set(form)))) or "no field"
            raise InvalidParameterError(
                f"{field}: the form must have exactly one field of this name, with the file; it has {held}"
            )
        value = values[0]
        if not isinstance(value, UploadFile):
            raise InvalidParameterError(f"{field}: send a file, not text (with curl: -F {field}=@{expected.example})")
        return await value.read()
    finally:
        await form.close()


async def _parse(request: Request, chunks: AsyncGenerator[bytes, None]) -> FormData:
    parser = _InMemoryParser(_boundary_alone(request), chunks)
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise MalformedBodyError(f"the multipart body is malformed: {error.message}") from error
    except (TimeoutError, ServiceError, ClientDisconnect):
        raise
    except Exception as error:
        raise MalformedBodyError(f"the multipart body is malformed: {error}") from error


def _boundary_alone(request: Request) -> Headers:
    """The form's content type with its boundary, but without a charset.

    With a charset, the client would choose the codec for names and texts: `punycode` takes a minute for a megabyte, and
    `utf-7` makes strings that no answer can hold.
    """
    _, options = parse_options_header(request.headers["content-type"])
    boundary = options.get(b"boundary", b"")
    if not boundary or b'"' in boundary or b"\\" in boundary:
        raise MalformedBodyError("the Content-Type names no usable boundary: let the HTTP client set it")
    return Headers(raw=[(b"content-type", b'multipart/form-data; boundary="' + boundary + b'"')])
