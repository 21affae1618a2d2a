"""Takes one file out of a multipart form while the form arrives. A part is the file by its name alone.

RFC 7578 makes a part's file name optional, and not every HTTP library sends one. Starlette's parser takes a part
without `filename` for text and lets it have 1 MiB; this one takes the bytes of the part that has the right name.
"""

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from liveness_service.errors import InvalidParameterError, MalformedBodyError
from liveness_service.shown import shown

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_FILES = 4
_MAX_PARTS = 16
"""A second file or another field is always a mistake. A few are accepted, so that the error can name them."""


class FormBody:
    """The parts of a form. Only the bytes of the file are kept, in memory: a container's disk may be read-only."""

    def __init__(self, content_type: str, field: str) -> None:
        """Begin to read a form.

        Args:
            content_type: the request's Content-Type. A charset in it decides nothing: a client would choose the codec
                for names, and `punycode` takes a minute for a megabyte.
            field: name of the part that is the file.

        Raises:
            MalformedBodyError: the content type has no usable boundary.
        """
        self._field = field
        self._names: list[str] = []
        self._files = 0
        self._file = bytearray()  # one piece: many small ones would leave a heap full of holes
        self._header = (b"", b"")
        self._disposition: bytes | None = None
        self._is_file = False
        self._complete = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
            "on_end": self._end,
        }
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not boundary or b'"' in boundary or b"\\" in boundary:
            raise MalformedBodyError("the Content-Type names no usable boundary: let the HTTP client set it")
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def feed(self, chunk: bytes) -> None:
        """Read on.

        Raises:
            MalformedBodyError: this is no form, or it has too many parts.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def finish(self) -> bytes:
        """The file, once everything has been fed.

        Raises:
            MalformedBodyError: the form ends before its closing boundary.
            InvalidParameterError: the form does not have exactly one part with the file's name.
        """
        if not self._complete:
            raise _malformed("it ends before its closing boundary: check that it was sent whole")
        if self._names.count(self._field) != 1:
            held = shown(", ".join(sorted(set(self._names)))) or "no field"
            raise InvalidParameterError(
                f"{self._field}: the form must have exactly one field of this name, with the file; it has {held}"
            )
        file = bytes(self._file)
        self._file.clear()
        return file

    def _begin_part(self) -> None:
        self._disposition = None

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], b"")

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value
        self._header = (b"", b"")

    def _end_headers(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if b"name" not in options:
            raise _malformed("a part has no name in its Content-Disposition")
        name = options[b"name"].decode("utf-8", "replace")
        self._is_file = name == self._field
        self._names.append(name)
        self._files += self._is_file or b"filename" in options
        if self._files > _MAX_FILES or len(self._names) > _MAX_PARTS:
            raise _malformed(f"it has more than {_MAX_FILES} files or {_MAX_PARTS} parts: send the file alone")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._file += memoryview(data)[start:end]

    def _end(self) -> None:
        self._complete = True


def _malformed(reason: str) -> MalformedBodyError:
    return MalformedBodyError(f"the multipart body is malformed: {reason}")
