"""The token of a capture session: what the browser holds in place of an access key (ADR 29).

    lvs1_BODY.SEAL        BODY = base64url(JSON [session id, kind, operating point, most bytes, mark of the caller])
                          SEAL = base64url(HMAC-SHA256(key, "lvs1_" + BODY))

It says what it is for and no more: when it ends, and whether it was used, is known to the store alone, by one clock.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from liveness_service.submission import Endpoint

_PREFIX = "lvs1_"
"""Begins every token, so that people and secret scanners recognise one, and a later format can be told from it."""
_MAX_TOKEN_CHARS = 1024
"""A longer token cannot be right, so it is refused without hashing it."""
_LEAST_KEY_BYTES = 32


class SessionKind(StrEnum):
    """What a session takes."""

    PHOTO = "photo"
    CLIP = "clip"

    @property
    def endpoint(self) -> Endpoint:
        """The path whose rules hold for the upload."""
        return Endpoint.CLIP if self is SessionKind.CLIP else Endpoint.PHOTO


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token is for."""

    session_id: str
    kind: SessionKind
    operating_point: str | None
    """Name of the threshold; None for the bundle's default one."""
    max_bytes: int
    """Most bytes of the file, as it was set when the session was opened."""
    caller_mark: str
    """Stands for the name of the caller's key, which end users need not know."""


class SessionKeys:
    """Secrets of the service, each for one purpose, all made of one key."""

    def __init__(self, key: bytes) -> None:
        """Make them of a key of 32 bytes or more."""
        self._token, self._caller, self._answer, self._file = (
            hmac.digest(key, purpose, "sha256") for purpose in (b"token", b"caller", b"answer", b"file")
        )

    def sign(self, claims: Claims) -> str:
        """Make a token."""
        content = (
            claims.session_id,
            claims.kind.value,
            claims.operating_point,
            claims.max_bytes,
            claims.caller_mark,
        )
        body = _text(json.dumps(content, separators=(",", ":")).encode())
        return f"{_PREFIX}{body}.{self._seal(body)}"

    def verify(self, token: str) -> Claims | None:
        """Read a token; None if this service did not make it. Seals are compared in constant time."""
        body, dot, seal = token.removeprefix(_PREFIX).partition(".")
        if len(token) > _MAX_TOKEN_CHARS or not token.startswith(_PREFIX) or not dot:
            return None
        # As text: several texts of base64 stand for the same bytes, and only one of them is the token.
        if not hmac.compare_digest(self._seal(body).encode(), seal.encode("utf-8", "surrogateescape")):
            return None
        try:
            session_id, kind, point, max_bytes, mark = json.loads(
                base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
            )
            return Claims(session_id, SessionKind(kind), point, max_bytes, mark)
        except (ValueError, TypeError, binascii.Error):  # signed by another version of this service
            return None

    def mark_of(self, caller: str) -> str:
        """What stands for a caller in tokens."""
        return _text(hmac.digest(self._caller, caller.encode(), "sha256")[:12])

    def seal_answer(self, session_id: str, answer: bytes) -> bytes:
        """What goes to the store: whoever may write there can delete an answer, and cannot make one."""
        return hmac.digest(self._answer, session_id.encode() + answer, "sha256") + answer

    def open_answer(self, session_id: str, sealed: bytes) -> bytes | None:
        """The answer; None if it was not sealed for this session."""
        seal, answer = sealed[:32], sealed[32:]
        right = hmac.digest(self._answer, session_id.encode() + answer, "sha256")
        return answer if hmac.compare_digest(right, seal) else None

    def digest_of_file(self, caller: str, content: bytes) -> str:
        """A digest of a caller's file, hexadecimal, that nobody without the key can compare with a file."""
        keyed = hmac.new(self._file, caller.encode() + b"\0", "sha256")
        keyed.update(content)
        return keyed.hexdigest()

    def _seal(self, body: str) -> str:
        return _text(hmac.digest(self._token, (_PREFIX + body).encode("utf-8", "surrogateescape"), "sha256"))


def new_session_id() -> str:
    """A session's id: 128 random bits, hexadecimal. It is no secret; the token is."""
    return secrets.token_hex(16)


def read_session_key(path: Path | None) -> bytes:
    """The key from a file, white space around it left out; a random one for None.

    Raises:
        ValueError: there is no such file, or the key is short.
    """
    if path is None:
        return secrets.token_bytes(hashlib.sha256().digest_size)
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    if len(key) < _LEAST_KEY_BYTES:
        raise ValueError(
            f"the key in {path} has {len(key)} bytes, and at least {_LEAST_KEY_BYTES} are needed: make one with "
            "`openssl rand -hex 32`"
        )
    return key


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
