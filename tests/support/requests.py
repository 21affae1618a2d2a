"""Requests to the API, the access keys that they carry, and what comes back."""

import asyncio

import numpy as np

from liveness_service.keys import new_key, parse_permissions
from support.pictures import encoded, head_and_shoulders

PHOTO = encoded(head_and_shoulders(), "PNG")
DARKER = encoded((head_and_shoulders() * 0.6).astype(np.uint8), "PNG")
URL = "/v1/liveness"


def as_form(content, name="photo.jpg", kind="image/jpeg"):
    return {"files": {"image": (name, content, kind)}}


def both_forms(content):
    return [{"content": content, "headers": {"Content-Type": "image/jpeg"}}, as_form(content)]


def answer_of(response):
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


class Chunks:
    """An endless upload that counts what is taken of it."""

    def __init__(self, pause=0.0):
        self.taken = 0
        self.pause = pause

    async def __aiter__(self):
        while True:
            await asyncio.sleep(self.pause)
            self.taken += 1
            yield bytes(1024)


def make_keys(**permissions: str) -> tuple[dict[str, str], str]:
    """Keys by name, and the text for LIVENESS_API_KEYS: `make_keys(backend="score")`."""
    made = {name: new_key(name, parse_permissions(text)) for name, text in permissions.items()}
    return {name: key for name, (key, _) in made.items()}, "\n".join(str(entry) for _, entry in made.values())


def bearer(key: str) -> dict[str, str]:
    """The header that presents a key."""
    return {"Authorization": f"Bearer {key}"}
