"""Access keys for tests."""

from liveness_service.keys import new_key, parse_permissions


def make_keys(**permissions: str) -> tuple[dict[str, str], str]:
    """Keys by name, and the text for LIVENESS_API_KEYS: `make_keys(backend="score")`."""
    made = {name: new_key(name, parse_permissions(text)) for name, text in permissions.items()}
    return {name: key for name, (key, _) in made.items()}, "\n".join(str(entry) for _, entry in made.values())


def bearer(key: str) -> dict[str, str]:
    """The header that presents a key."""
    return {"Authorization": f"Bearer {key}"}
