"""Takes one file out of a JSON object while it arrives: `{"image": "base64 text, or a data URL"}`.

The text is decoded as it comes, so the file is in memory once. Everything else in the object is held for `json.loads`
and may have 4 KiB: of as many bytes as a clip may have, a JSON parser would make objects of many times the size.
"""

import binascii
import json
import re
import secrets
from typing import Final

from liveness_service.errors import (
    InvalidParameterError,
    MalformedBodyError,
    TooManyBytesError,
    UnsupportedMediaError,
)
from liveness_service.shown import shown

_SHORT = 1024
"""Strings of up to so many bytes may be anything; a longer one must be the file."""
_MAX_REST = 4096
_UNESCAPED: Final = re.compile(rb'[^"\\]*+(?:\\(?:[^u]|u[0-9A-Fa-f]{4})[^"\\]*+)*+', re.DOTALL)
"""The rest of a string, as far as it is whole: up to its end, or to an escape that is cut off or wrong."""
_LONGEST_ESCAPE = 6
_STANDARD = bytes.maketrans(b"-_", b"+/")
"""From base64 for URLs to the usual one."""
_BLANKS = b" \t\r\n"
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class JsonBody:
    """The object of a request with `Content-Type: application/json`."""

    def __init__(self, field: str, too_many: TooManyBytesError, max_bytes: int) -> None:
        """Begin to read an object.

        Args:
            field: name of the member that is the file.
            too_many: raised when the file has more bytes than it may have.
            max_bytes: most bytes of the file.
        """
        self._field = field
        self._too_many = too_many
        self._max_bytes = max_bytes
        self._file: _Base64 | None = None
        self._placeholder = f"file-{secrets.token_hex(16)}"
        self._rest = bytearray()
        self._string: bytearray | None = None  # the string that has begun, while it is short
        self._in_file = False
        self._cut_off = b""  # an escape of which a part has arrived

    def feed(self, chunk: bytes) -> None:
        """Read on.

        Raises:
            MalformedBodyError: this is no such object, or the file is not base64.
            TooManyBytesError: the file is too large.
        """
        data, self._cut_off = self._cut_off + chunk, b""
        at = 0
        while at < len(data):
            if self._string is None and not self._in_file:
                quote = data.find(b'"', at)
                end = len(data) if quote < 0 else quote
                self._keep(data[at:end])
                if quote >= 0:
                    self._string = bytearray()
                at = end + 1
                continue
            match = _UNESCAPED.match(data, at)
            assert match is not None  # it may be empty
            end = match.end()
            self._take(match[0])
            if end < len(data) and data[end] == ord("\\"):
                if len(data) - end >= _LONGEST_ESCAPE:
                    raise _malformed("a string has an escape that JSON does not know")
                self._cut_off = data[end:]
                return
            if end < len(data):
                self._end_string()
            at = end + 1

    def finish(self) -> bytes:
        """The file, once everything has been fed.

        Raises:
            MalformedBodyError: the object is not whole, or the file is not base64.
            InvalidParameterError: the object has not exactly the file's member, or that is no text.
            TooManyBytesError: the file is too large.
            UnsupportedMediaError: the text is a URL, and the service fetches nothing.
        """
        try:
            members = json.loads(self._rest.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise _malformed(f"{error}") from error
        if not isinstance(members, dict) or list(members) != [self._field]:
            held = shown(", ".join(members)) if isinstance(members, dict) and members else "none"
            raise InvalidParameterError(
                f"{self._field}: the JSON object must have this member and no other; it has {held} (parameters belong "
                "into the URL's query)"
            )
        value = members[self._field]
        if value == self._placeholder and self._file is not None:
            return self._file.finish()
        if not isinstance(value, str):
            raise InvalidParameterError(f"{self._field}: send the file as base64 text, or as a data URL")
        short = _Base64(self._field, self._too_many, self._max_bytes)
        short.begin(value.encode("utf-8", "replace"))
        return short.finish()

    def _keep(self, part: bytes) -> None:
        self._rest += part
        if len(self._rest) > _MAX_REST:
            raise _malformed(f"besides the file it has more than {_MAX_REST:,} bytes: send the file alone")

    def _take(self, part: bytes) -> None:
        """Take more of a string, whose escapes are whole."""
        if self._in_file:
            assert self._file is not None
            self._file.feed(_text_of(part))
            return
        assert self._string is not None
        self._string += part
        if len(self._string) > _SHORT:
            if self._file is not None:
                raise InvalidParameterError(f"{self._field}: the JSON object holds more than one file: send one")
            self._file = _Base64(self._field, self._too_many, self._max_bytes)
            self._in_file = True
            whole, self._string = bytes(self._string), None
            self._file.begin(_text_of(whole))

    def _end_string(self) -> None:
        if self._in_file:
            self._in_file = False
            self._keep(f'"{self._placeholder}"'.encode())
        else:
            assert self._string is not None
            self._keep(b'"' + self._string + b'"')
            self._string = None


class _Base64:
    """Decodes base64 text, or the data URL that holds it: in pieces, with or without line breaks and padding."""

    def __init__(self, field: str, too_many: TooManyBytesError, max_bytes: int) -> None:
        self._field = field
        self._too_many = too_many
        self._max_bytes = max_bytes
        self._decoded = bytearray()  # one piece: many small ones would leave a heap full of holes
        self._size = 0
        self._open = b""  # up to three characters that are not four yet
        self._padded = False

    def begin(self, text: bytes) -> None:
        """Take the beginning of the text, in which the head of a data URL is whole."""
        text = text.lstrip(_BLANKS)
        scheme = text[:8].lower()
        if scheme.startswith((b"http://", b"https:/")):
            raise UnsupportedMediaError(
                f"{self._field} is a URL, and the service fetches nothing: send the file itself"
            )
        if scheme.startswith(b"data:"):
            head, comma, text = text.partition(b",")
            if not comma or not head.rstrip().lower().endswith(b";base64"):
                raise MalformedBodyError(f"{self._field} is a data URL without base64: write data:image/jpeg;base64,…")
        self.feed(text)

    def feed(self, text: bytes) -> None:
        text = text.translate(_STANDARD, _BLANKS)
        if text.endswith(b"=") or self._padded:
            stripped = text.rstrip(b"=")
            if self._padded and stripped:
                raise self._not_base64()
            self._padded, text = True, stripped
        if text.translate(None, _ALPHABET):
            raise self._not_base64()
        text = self._open + text
        whole = len(text) - len(text) % 4
        self._open = text[whole:]
        self._append(text[:whole])

    def finish(self) -> bytes:
        if len(self._open) == 1:
            raise self._not_base64()
        self._append(self._open + b"=" * (-len(self._open) % 4))
        decoded = bytes(self._decoded)
        self._decoded.clear()
        return decoded

    def _append(self, text: bytes) -> None:
        decoded = binascii.a2b_base64(text)
        self._size += len(decoded)
        if self._size > self._max_bytes:
            raise self._too_many
        self._decoded += decoded

    def _not_base64(self) -> MalformedBodyError:
        return MalformedBodyError(f"{self._field} is not base64: send base64 text, or data:image/jpeg;base64,…")


def _text_of(part: bytes) -> bytes:
    """A part of a JSON string without its escapes."""
    if b"\\" not in part:
        return part
    try:
        return str(json.loads(b'"' + part + b'"', strict=False)).encode("utf-8", "replace")
    except ValueError as error:
        raise _malformed(f"{error}") from error


def _malformed(reason: str) -> MalformedBodyError:
    return MalformedBodyError(f"the JSON body is malformed: {reason}")
