"""Access keys: how they are made, what is kept of them, and how a presented one is found.

A key is 256 random bits, so nobody can try them all, and a fast hash is enough: bcrypt and its kin make guessing slow
where people choose the secret, and would only add their time to every request here. What is kept is
HMAC-SHA256(salt, key); the salt makes one key in two files look like two.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

_PREFIX = "lv_"
"""So that scanners for secrets, and people, know a key of this service when they see one."""
_MAX_KEY_CHARS = 256
"""A longer one is wrong anyway, and is not hashed."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED = {"none", "unknown"}
"""What logs and metrics say where there is no name."""


class Permission(StrEnum):
    """What a key is for."""

    SCORE = "score"
    """Photos and clips."""
    OPERATIONS = "operations"
    """Metrics, and which model decides."""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What is kept of a key; the key itself is not. Several may share a name, while one replaces the other."""

    name: str
    permissions: frozenset[Permission]
    salt: bytes
    digest: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name:permissions:salt:hash`.

        Raises:
            ValueError: it is not of that form. The message holds nothing of it: somebody may have put a key there.
        """
        parts = text.split(":")
        if len(parts) != 4:
            raise ValueError("it is not name:permissions:salt:hash: `liveness keys new` prints such a line")
        name, permissions, salt, digest = parts
        check_name(name)
        try:
            entry = cls(name, parse_permissions(permissions), bytes.fromhex(salt), bytes.fromhex(digest))
        except ValueError as error:
            raise ValueError(f"its permissions, salt or hash is wrong ({name}): copy the whole line again") from error
        if len(entry.salt) < 16 or len(entry.digest) != hashlib.sha256().digest_size:
            raise ValueError(f"its salt or hash is too short ({name}): copy the whole line again")
        return entry

    def __str__(self) -> str:
        """The line that `parse` reads."""
        permissions = "+".join(each for each in Permission if each in self.permissions)
        return f"{self.name}:{permissions}:{self.salt.hex()}:{self.digest.hex()}"


def check_name(name: str) -> None:
    """Refuse a name that logs, metrics or the form of an entry could not hold.

    Raises:
        ValueError: it says what a name may be.
    """
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise ValueError(
            "a key's name has 1 to 64 letters, digits, dots, dashes and underscores, begins with a letter or digit, "
            "and is neither none nor unknown"
        )


def parse_permissions(text: str) -> frozenset[Permission]:
    """Read `score`, `operations` or `score+operations`.

    Raises:
        ValueError: it is none of these.
    """
    return frozenset(Permission(each) for each in text.split("+"))


def new_key(name: str, permissions: frozenset[Permission]) -> tuple[str, KeyEntry]:
    """Make a key and what is to be kept of it.

    Raises:
        ValueError: the name cannot be one.
    """
    check_name(name)
    key = _PREFIX + secrets.token_urlsafe(32)
    salt = secrets.token_bytes(16)
    return key, KeyEntry(name, permissions, salt, _digest(salt, key))


def _digest(salt: bytes, key: str) -> bytes:
    return hmac.digest(salt, key.encode("utf-8", "surrogateescape"), "sha256")


class KeyRing:
    """The keys that are accepted."""

    def __init__(self, entries: tuple[KeyEntry, ...] = ()) -> None:
        self._entries = entries

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read entries, one a line or separated by blanks.

        Raises:
            ValueError: one is not of the form; it says the which.
        """
        entries = []
        for place, each in enumerate(text.split(), start=1):
            try:
                entries.append(KeyEntry.parse(each))
            except ValueError as error:
                raise ValueError(f"entry {place}: {error}") from error
        return cls(tuple(entries))

    def __add__(self, other: "KeyRing") -> "KeyRing":
        return KeyRing(self._entries + other._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> list[str]:
        """Each name once."""
        return sorted({entry.name for entry in self._entries})

    def find(self, key: str) -> KeyEntry | None:
        """The entry of a presented key; None where it is no key of ours.

        All entries are compared, each in constant time: how long it takes tells nothing of which are near.
        """
        if len(key) > _MAX_KEY_CHARS:
            return None
        found = None
        for entry in self._entries:
            same = hmac.compare_digest(_digest(entry.salt, key), entry.digest)
            found = entry if same and found is None else found
        return found
