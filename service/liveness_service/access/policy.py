"""Whether callers need a key, and what each caller may do.

Without keys, the service answers only if nobody else can reach it, or if a setting allows everybody.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Self

from liveness_service.errors import ForbiddenError, UnauthorizedError
from liveness_service.keys import KeyRing, Permission
from liveness_service.settings import Settings

_NEW = "`liveness keys new` makes one (docs/access.md)"


class AccessError(ValueError):
    """The service cannot start safely with these settings; the message says what to set."""


class Mode(StrEnum):
    """Which callers the service answers; it logs the mode at start."""

    KEYS = "keys"
    """Callers who have a key."""
    OPEN_BY_SETTING = "open_by_setting"
    """All callers, because LIVENESS_ALLOW_ANONYMOUS is set."""
    OPEN_ON_LOOPBACK = "open_on_loopback"
    """Callers on this machine: there are no keys, and the service listens on loopback."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, and what they may do."""

    name: str
    """Name of the caller's key; `none` without a key, `unknown` for a wrong key."""
    permissions: frozenset[Permission] = frozenset()
    refusal: str = ""
    """Message for a caller who has no permission at all: why, and what to do. Empty for other callers."""


_ANYBODY = Caller("none", frozenset(Permission))
_NO_KEY = Caller("none", refusal="no access key came with the request: send the header `Authorization: Bearer KEY`")
_WRONG_KEY = Caller(
    "unknown", refusal="this service does not know the access key: check that it is complete and still in use"
)
_NOT_LOCAL = Caller("none", refusal=f"without keys this service answers its own machine only: {_NEW}")


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Decides who a caller is and what they may do."""

    mode: Mode
    keys: KeyRing

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Make the policy from the settings, and from the file of keys that they name.

        Raises:
            AccessError: the file cannot be used, or others can reach the service and there are no keys.
        """
        keys = KeyRing.parse(settings.api_keys or "")
        if settings.api_keys_file is not None:
            keys += _read(settings.api_keys_file)
        if len(keys):
            return cls(Mode.KEYS, keys)
        if settings.allow_anonymous:
            return cls(Mode.OPEN_BY_SETTING, keys)
        if not is_loopback(settings.host):
            raise AccessError(
                f"others can reach {settings.host or 'all addresses'} and there are no access keys: {_NEW} for "
                "LIVENESS_API_KEYS, or set LIVENESS_ALLOW_ANONYMOUS=true if something in front of the service checks "
                "its callers"
            )
        return cls(Mode.OPEN_ON_LOOPBACK, keys)

    def identify(self, presented: str | None, server: str | None) -> Caller:
        """Find out who sent a request.

        Args:
            presented: the key that came with the request; None without one.
            server: the service's own address to which the request came. It is checked because LIVENESS_HOST binds only
                `liveness serve`: another ASGI server may listen elsewhere.
        """
        if self.mode is Mode.KEYS:
            if presented is None:
                return _NO_KEY
            entry = self.keys.find(presented)
            return _WRONG_KEY if entry is None else Caller(entry.name, entry.permissions)
        if self.mode is Mode.OPEN_ON_LOOPBACK and not _is_local(server):
            return _NOT_LOCAL
        return _ANYBODY


def admit(caller: Caller, enough: AbstractSet[Permission]) -> None:
    """Refuse a caller who has none of these permissions.

    Raises:
        UnauthorizedError: the request has no key or a wrong one.
        ForbiddenError: the key does not have any of the permissions.
    """
    if caller.permissions & enough:
        return
    if not caller.permissions:
        raise UnauthorizedError(caller.refusal)
    raise ForbiddenError(
        f"the key {caller.name} has the permission {' and '.join(sorted(caller.permissions))}, this needs "
        f"{' or '.join(sorted(enough))}: use another key"
    )


def is_loopback(host: str) -> bool:
    """Whether a service that listens on this name or address can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False  # another host name, or an empty text, which means all addresses
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


@lru_cache(256)  # asked at every request, of the few addresses on which the service listens
def _is_local(server: str | None) -> bool:
    """Whether a request came to a loopback address, or to a Unix socket: then `server` is a path, or None."""
    if server is None:
        return True
    try:
        ip_address(server)
    except ValueError:
        return True
    return is_loopback(server)


def _read(path: Path) -> KeyRing:
    try:
        keys = KeyRing.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AccessError(f"LIVENESS_API_KEYS_FILE {path}: {error}") from error
    if not len(keys):
        raise AccessError(f"LIVENESS_API_KEYS_FILE {path}: the file holds no key: {_NEW}")
    return keys
