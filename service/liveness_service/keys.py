"""Access keys: how a key is made, what the service keeps of it, and how the key of a request is looked up.

A key has 256 random bits, so nobody can try them all, and a fast hash is enough. Slow hashes such as bcrypt protect
secrets that people choose; here they would only make every request slower. The service keeps HMAC-SHA256(salt, key);
because of the salt, nobody can see that two files hold the same key.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

_PREFIX = "lv_"
"""Begins every key, so that people and secret scanners recognise a key of this service."""
_MAX_KEY_CHARS = 256
"""A longer key cannot be right, so it is refused without hashing it."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_POINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RESERVED = {"none", "unknown"}
"""Names that logs and metrics use for a caller without a key, and for a caller with a wrong key."""


class Permission(StrEnum):
    """What a key allows its caller to do."""

    SCORE = "score"
    """Send photos and clips to be scored."""
    OPERATIONS = "operations"
    """Read the metrics, and change which model decides."""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What the service keeps of a key: never the key itself. While one key replaces another, both may share a name."""

    name: str
    """Name of the caller, as logs, metrics and the audit log show it."""
    permissions: frozenset[Permission]
    salt: bytes
    """At least 16 random bytes."""
    digest: bytes = field(repr=False)
    """HMAC-SHA256(salt, key), 32 bytes."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name:permissions:salt:hash`.

        Raises:
            ValueError: the text does not have that form. The message does not quote it, since it may be a key.
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
        permissions = "+".join(permission for permission in Permission if permission in self.permissions)
        return f"{self.name}:{permissions}:{self.salt.hex()}:{self.digest.hex()}"


def check_name(name: str) -> None:
    """Refuse a name that does not fit into logs, metrics or an entry.

    Raises:
        ValueError: the name is refused; the message says which names are allowed.
    """
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise ValueError(
            "a key's name has 1 to 64 letters, digits, dots, dashes and underscores, begins with a letter or digit, "
            "and is neither none nor unknown"
        )


def parse_permissions(text: str) -> frozenset[Permission]:
    """Read `score`, `operations` or `score+operations`.

    Raises:
        ValueError: the text names another permission; the message says which there are.
    """
    named = text.split("+")
    if set(named) <= set(Permission):
        return frozenset(map(Permission, named))
    raise ValueError(f"no such permission; allowed are {', '.join(Permission)}, or several of them with + between")


def parse_points(text: str) -> dict[str, str]:
    """Read `key=point` entries, separated by blanks: names of keys, and of the operating points they are judged by.

    Raises:
        ValueError: an entry does not have that form, or a key is there twice.
    """
    points: dict[str, str] = {}
    for entry in text.split():
        name, _, point = entry.partition("=")
        check_name(name)
        if not _POINT.fullmatch(point):
            raise ValueError(f"{entry!r} is not KEY=POINT, the names of a key and of an operating point")
        if name in points:
            raise ValueError(f"the key {name} is there twice")
        points[name] = point
    return points


def new_key(name: str, permissions: frozenset[Permission]) -> tuple[str, KeyEntry]:
    """Make a key, and the entry that the service keeps of it.

    Raises:
        ValueError: the name is not allowed; see `check_name`.
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
            ValueError: an entry does not have the right form; the message says which one, counted from 1.
        """
        entries = []
        for number, entry in enumerate(text.split(), start=1):
            try:
                entries.append(KeyEntry.parse(entry))
            except ValueError as error:
                raise ValueError(f"entry {number}: {error}") from error
        return cls(tuple(entries))

    def __add__(self, other: "KeyRing") -> "KeyRing":
        return KeyRing(self._entries + other._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> list[str]:
        """The names of the keys, sorted, each name once."""
        return sorted({entry.name for entry in self._entries})

    def names_with(self, permission: Permission) -> list[str]:
        """The names of the keys that have a permission, sorted, each name once."""
        return sorted({entry.name for entry in self._entries if permission in entry.permissions})

    def find(self, key: str) -> KeyEntry | None:
        """The entry that belongs to a key; None where no entry does.

        The key is compared with all entries, each time in constant time, so that the time taken tells a guesser
        nothing.
        """
        if len(key) > _MAX_KEY_CHARS:
            return None
        found = None
        for entry in self._entries:
            same = hmac.compare_digest(_digest(entry.salt, key), entry.digest)
            found = entry if same and found is None else found
        return found
