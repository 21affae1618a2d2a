"""Reading an upload from a request: in memory, counted while it streams, in either form of body."""

import asyncio
from collections.abc import AsyncGenerator
from email.message import Message

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from liveness_service.errors import (
    EmptyBodyError,
    InvalidParameterError,
    MalformedBodyError,
    TooManyBytesError,
    UploadTimeoutError,
)

_FORM_OVERHEAD = 64 * 1024  # part headers and boundaries around the file
_MAX_FIELDS = 16


class _InMemoryParser(MultiPartParser):
    """Starlette's parser without its temporary files: images are bounded, and a container's disk may be read-only.

    A form that is cut off is an error.
    """

    spool_max_size = 1 << 40

    def __init__(self, headers: Headers, chunks: AsyncGenerator[bytes, None]) -> None:
        # Another file or field could only be a mistake; a few are let through so that the message can name them.
        super().__init__(headers, self._until_complete(chunks), max_files=4, max_fields=_MAX_FIELDS)
        self._complete = False

    def on_end(self) -> None:
        """Note the closing boundary."""
        self._complete = True

    async def _until_complete(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in chunks:
            yield chunk
        if not self._complete:
            raise MultiPartException("it ends before its closing boundary, check that it was sent whole")


async def read_upload(request: Request, field: str, *, max_bytes: int, timeout_ms: int) -> bytes:
    """The uploaded file: the multipart field `field`, or else the whole body, whatever its declared type.

    Raises:
        EmptyBodyError, MalformedBodyError, InvalidParameterError: there is no file in it.
        TooManyBytesError: it is larger than `max_bytes`; it is not read further.
        UploadTimeoutError: it did not arrive within `timeout_ms`.
        ClientDisconnect: the client went away.
    """
    declared = Message()
    declared["content-type"] = request.headers.get("content-type", "")
    is_form = declared.get_content_type() == "multipart/form-data"
    limit = max_bytes + (_FORM_OVERHEAD if is_form else 0)
    _refuse_early(request, limit, max_bytes)
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            chunks = _counted(request, limit, max_bytes)
            content = (
                await _from_form(request, chunks, field) if is_form else b"".join([chunk async for chunk in chunks])
            )
    except TimeoutError as error:
        raise UploadTimeoutError(
            f"the image did not arrive within {timeout_ms / 1000:g} s: check the connection, or send a smaller image"
        ) from error
    if not content:
        raise EmptyBodyError("the image has 0 bytes: check that the file was read before it was sent")
    if len(content) > max_bytes:
        raise _too_many(max_bytes)
    return content


def _too_many(max_bytes: int) -> TooManyBytesError:
    return TooManyBytesError(
        f"the image file is larger than {max_bytes:,} bytes: send a smaller one "
        "(LIVENESS_MAX_UPLOAD_BYTES is the limit)",
        limit=max_bytes,
    )


def _refuse_early(request: Request, limit: int, max_bytes: int) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_many(max_bytes)


async def _counted(request: Request, limit: int, max_bytes: int) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise _too_many(max_bytes)
        if chunk:
            yield chunk


async def _from_form(request: Request, chunks: AsyncGenerator[bytes, None], field: str) -> bytes:
    form = await _parse(request, chunks)
    try:
        values = form.getlist(field)
        if len(values) != 1:
            held = ", ".join(sorted(set(form))) or "no field"
            raise InvalidParameterError(
                f"{field}: the form must have exactly one field of this name, with the file; it has {held}"
            )
        value = values[0]
        if not isinstance(value, UploadFile):
            raise InvalidParameterError(f"{field}: send a file, not text (with curl: -F {field}=@photo.jpg)")
        return await value.read()
    finally:
        await form.close()


async def _parse(request: Request, chunks: AsyncGenerator[bytes, None]) -> FormData:
    parser = _InMemoryParser(_boundary_alone(request), chunks)
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise MalformedBodyError(f"the multipart body is malformed: {error.message}") from error
    except (TimeoutError, TooManyBytesError, ClientDisconnect):
        raise
    except Exception as error:
        raise MalformedBodyError(f"the multipart body is malformed: {error}") from error


def _boundary_alone(request: Request) -> Headers:
    """The form's content type without a charset.

    A charset would choose the codec of names and texts: `punycode` takes a minute for a megabyte, `utf-7` makes strings
    that no answer can hold.
    """
    _, options = parse_options_header(request.headers["content-type"])
    boundary = options.get(b"boundary", b"")
    if not boundary or b'"' in boundary or b"\\" in boundary:
        raise MalformedBodyError("the Content-Type names no usable boundary: let the HTTP client set it")
    return Headers(raw=[(b"content-type", b'multipart/form-data; boundary="' + boundary + b'"')])
