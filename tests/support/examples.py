"""The example answers of /docs, asked of the default bundle anew.

After a change of the bundle or of what is in an answer, `PYTHONPATH=tests python -m support.examples` writes them anew
to the package of the service.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import liveness_service.api
from liveness_service.api.schemas import answer_of
from liveness_service.observability.metrics import Metrics
from liveness_service.service import LivenessService
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, Submission
from support.clips import clip, person, still
from support.pictures import astronaut, encoded, no_face

FILE = Path(liveness_service.api.__file__).with_name("examples.json")
REQUEST_ID = "01JZ7V0E8M3Q4N9T6B2C5D7F8G"


def on_a_screen(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """The picture with the coloured stripes (moiré) that a camera sees on a screen. Finer ones would be noise to it."""
    down, across = np.mgrid[: picture.shape[0], : picture.shape[1]]
    phase = 2 * np.pi * (across + 0.3 * down) / 24
    stripes = np.stack([np.sin(phase + 2 * np.pi / 3 * colour) for colour in range(3)], axis=-1)
    return np.clip(picture + 60 * stripes, 0, 255).astype(np.uint8)


def _small() -> NDArray[np.uint8]:
    return cv2.resize(astronaut(), (200, 200), interpolation=cv2.INTER_AREA).astype(np.uint8)


def uploads(endpoint: Endpoint) -> dict[str, tuple[str, bytes]]:
    """Summary and file of each example, by name."""
    if endpoint is Endpoint.PHOTO:
        return {
            "live": ("a live person", encoded(astronaut(), quality=95)),
            "spoof": ("a photo or a screen", encoded(on_a_screen(astronaut()), quality=95)),
            "no_face": ("no face found", encoded(no_face(), quality=95)),
            "face_too_small": ("refused for its quality", encoded(_small(), quality=95)),
        }
    return {
        "live": ("a live person", clip()),
        "spoof": ("a photo or a screen", clip(lambda number: on_a_screen(person(number)))),
        "static_clip": ("a still picture", clip(still)),
    }


def answers(endpoint: Endpoint) -> dict[str, Any]:
    """The examples as OpenAPI writes them, with what the default bundle answers now."""
    return asyncio.run(_answers(endpoint))


async def _answers(endpoint: Endpoint) -> dict[str, Any]:
    service = LivenessService(
        Settings(workers=0, bundle_path=None, deadline_ms=600_000, clip_deadline_ms=600_000), Metrics()
    )
    await service.start()
    try:
        told: dict[str, Any] = {}
        for name, (summary, content) in uploads(endpoint).items():
            await service.score(Submission(endpoint, content))  # the first one takes longer, which is no example
            result = await service.score(Submission(endpoint, content))
            answer = answer_of(REQUEST_ID, result, service.model()).model_dump(mode="json")
            told[name] = {"summary": summary, "value": rounded(answer)}
        return told
    finally:
        await service.close()


def rounded(value: Any) -> Any:
    """With at most four digits behind the point, for people."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    FILE.write_text(json.dumps({each.value: answers(each) for each in Endpoint}, indent=1) + "\n", encoding="utf-8")
