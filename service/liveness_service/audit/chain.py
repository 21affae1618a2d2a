"""The chain of the audit log: every line names the line before it and is sealed with a hash of its own.

A sealed line ends with four members: `chain`, the name of the chain; `seq`, its number, counted from 1; `prev`, the
hash of the line before, or 64 zeros; and `hash`, over all bytes of the line before `, "hash"`. Bytes are hashed, and
not what they mean, so that a check needs no agreement about how JSON is written. The hash is SHA-256, or with a key
HMAC-SHA-256, which nobody can make who has write access to the file and not the key.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LEAST_KEY_BYTES: Final = 32
"""Least length of a key: as many bytes as the hash has."""
_NOTHING: Final = "0" * 64
"""What the first line of a chain has for the hash of the line before."""
_END = re.compile(
    rb', "chain": "(?P<chain>[0-9a-f]{16})", "seq": (?P<seq>[1-9][0-9]{0,17}), "prev": "(?P<prev>[0-9a-f]{64})"'
    rb', "hash": "(?P<hash>[0-9a-f]{64})"}'
)


@dataclass(frozen=True, slots=True)
class Head:
    """The place behind the last line of a chain: what the next line refers to."""

    chain: str
    """Name of the chain, 16 hexadecimal digits, random."""
    seq: int
    """Number of the last line; 0 before the first one."""
    hash: str
    """The last line's hash, 64 hexadecimal digits; zeros before the first line."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a sealed line says of its place in the chain. Nothing of it is checked yet."""

    head: Head
    """The place behind this line."""
    prev: str
    """Hash of the line before, 64 hexadecimal digits; zeros in the first line of a chain."""
    sealed: bytes
    """The bytes under the hash."""

    @property
    def is_first(self) -> bool:
        """Whether the line says that its chain begins with it."""
        return self.head.seq == 1 and self.prev == _NOTHING

    def is_sealed_with(self, key: bytes | None) -> bool:
        """Whether the line's hash is right under this key; None for a chain without a key."""
        return hmac.compare_digest(_hash(self.sealed, key), self.head.hash)


def new_chain() -> Head:
    """The head of a chain that has no line yet."""
    return Head(secrets.token_hex(8), 0, _NOTHING)


def seal(line: bytes, before: Head, key: bytes | None) -> tuple[bytes, Head]:
    """Add a line to a chain.

    Args:
        line: a JSON object and a newline.
        before: the head of the chain.
        key: the secret of an HMAC; None for SHA-256.

    Returns:
        The sealed line with its newline, and the new head.
    """
    seq = before.seq + 1
    end = f', "chain": "{before.chain}", "seq": {seq}, "prev": "{before.hash}"'
    sealed = line.removesuffix(b"\n").removesuffix(b"}") + end.encode()
    digest = _hash(sealed, key)
    return sealed + f', "hash": "{digest}"}}\n'.encode(), Head(before.chain, seq, digest)


def link_of(line: bytes) -> Link | None:
    """Read a line's place in its chain; None for a line that is not sealed. The line comes without its newline."""
    # Looked for at the end alone: the members before are nobody's business here.
    end = _END.fullmatch(line, max(line.rfind(b', "chain": "'), 0))
    if end is None:
        return None
    head = Head(end["chain"].decode(), int(end["seq"]), end["hash"].decode())
    return Link(head, end["prev"].decode(), line[: end.start("hash") - len(b', "hash": "')])


def read_key(path: Path) -> bytes:
    """Read the secret of a chain from a file. White space around it does not count.

    Raises:
        ValueError: there is no such file, or the secret is short.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    if len(key) < LEAST_KEY_BYTES:
        raise ValueError(
            f"the key in {path} has {len(key)} bytes, and at least {LEAST_KEY_BYTES} are needed: make one with "
            "`openssl rand -hex 32`"
        )
    return key


def _hash(sealed: bytes, key: bytes | None) -> str:
    return hashlib.sha256(sealed).hexdigest() if key is None else hmac.new(key, sealed, "sha256").hexdigest()
