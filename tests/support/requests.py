"""Requests to `POST /v1/liveness` and what comes back."""

import asyncio

import numpy as np

from support.pictures import astronaut, encoded

PHOTO = encoded(astronaut(), "PNG")
DARKER = encoded((astronaut() * 0.6).astype(np.uint8), "PNG")
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
