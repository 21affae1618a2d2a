"""Files that were sent before: remembered for each caller by a keyed digest, and by nothing of their content."""

import asyncio
import time
from typing import Any

from liveness_service.results import SEEN_BEFORE, ClipResult, ImageResult, Result, Timings, Verdict
from liveness_service.sessions.store import SessionStore
from liveness_service.sessions.token import SessionKeys
from liveness_service.submission import Endpoint, Submission


class SeenFiles:
    """The files of all callers within a window of time, if the settings ask for it."""

    def __init__(self, store: SessionStore, keys: SessionKeys, window_s: float | None) -> None:
        """Prepare the check; None for no window: then every file is new."""
        self._store = store
        self._keys = keys
        self._window_s = window_s

    async def first_time(self, submission: Submission) -> str | None:
        """Remember an uploaded file.

        Returns:
            What `forget` takes where the file gets no verdict; None if the same caller sent the same file before.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        if self._window_s is None:
            return ""
        digest = await asyncio.to_thread(self._keys.digest_of_file, submission.caller, submission.content)
        return digest if await self._store.is_new(digest, self._window_s) else None

    async def forget(self, remembered: str) -> None:
        """Forget a file that got no verdict, so that it may be sent again.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        if remembered:
            await self._store.forget(remembered)


def seen_again(endpoint: Endpoint, operating_point: str, threshold: float, began: float) -> Result:
    """The answer for a file that the same caller has sent before: it is not looked at again.

    Args:
        endpoint: where it was sent.
        operating_point: name of the threshold that would have decided.
        threshold: that threshold, in [0, 1].
        began: when the file was here, on the clock `time.perf_counter`.
    """
    common: dict[str, Any] = {
        "verdict": Verdict.UNDETERMINED,
        "reasons": (SEEN_BEFORE,),
        "score": None,
        "threshold": threshold,
        "operating_point": operating_point,
        "width": 0,
        "height": 0,
        "timings_ms": Timings(total=1000 * (time.perf_counter() - began)),
    }
    if endpoint is Endpoint.CLIP:
        return ClipResult(**common, frame_score=None, face=None, frames=(), frames_used=0, duration_s=0.0, fps=0.0)
    return ImageResult(**common, faces=())
