"""Whether keys are asked for, and what a caller may do.

Without keys the service answers only where nobody else can reach it, or where a setting says that it shall.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Self

from liveness_service.errors import ForbiddenError, UnauthorizedError
from liveness_service.keys import KeyRing, Permission
from liveness_service.settings import Settings

_NEW = "`liveness keys new` makes one (docs/access.md)"


class AccessError(ValueError):
    """The settings leave no safe way to start; the message says what to set."""


class Mode(StrEnum):
    """Who is answered; the log says which at start."""

    KEYS = "keys"
    """Whoever has a key."""
    OPEN_BY_SETTING = "open_by_setting"
    """Everybody."""
    OPEN_ON_LOOPBACK = "open_on_loopback"
    """Whoever comes from this machine."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str
    """Of the key; `none` without one, `unknown` for a wrong one."""
    permissions: frozenset[Permission] = frozenset()
    refusal: str = ""
    """Why whoever has no permission at all has none."""


_ANYBODY = Caller("none", frozenset(Permission))
_NO_KEY = Caller("none", refusal="no access key came with the request: send the header `Authorization: Bearer KEY`")
_WRONG_KEY = Caller("unknown", refusal="the access key is none of this service's: check that it is whole and in use")
_FROM_AFAR = Caller("none", refusal=f"without keys this service answers its own machine only: {_NEW}")


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Who may do what."""

    mode: Mode
    keys: KeyRing

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """From the settings and the file that they name.

        Raises:
            AccessError: the file is of no use, or there are no keys where others can reach the service.
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
                "LIVENESS_API_KEYS, or set LIVENESS_ALLOW_ANONYMOUS=true where something before the service checks "
                "who asks"
            )
        return cls(Mode.OPEN_ON_LOOPBACK, keys)

    def identify(self, presented: str | None, server: str | None) -> Caller:
        """Who asks.

        Args:
            presented: the key that came with the request.
            server: the service's own address that the request came to. Another ASGI server than `liveness serve`
                listens where it was told to, whatever LIVENESS_HOST says.
        """
        if self.mode is Mode.KEYS:
            if presented is None:
                return _NO_KEY
            entry = self.keys.find(presented)
            return _WRONG_KEY if entry is None else Caller(entry.name, entry.permissions)
        if self.mode is Mode.OPEN_ON_LOOPBACK and not _is_local(server):
            return _FROM_AFAR
        return _ANYBODY


def admit(caller: Caller, enough: AbstractSet[Permission]) -> None:
    """Let a caller pass who has one of these permissions.

    Raises:
        UnauthorizedError: there is no key, or a wrong one.
        ForbiddenError: the key is for something else.
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
    """Whether a name or address to listen on is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False  # another name, or none, which means all addresses
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _is_local(server: str | None) -> bool:
    """Whether an address that a request came to is of this machine; one that is no address is a socket in a folder."""
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
        raise AccessError(f"LIVENESS_API_KEYS_FILE {path}: it holds no key: {_NEW}")
    return keys
