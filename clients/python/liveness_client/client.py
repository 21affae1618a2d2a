"""The two clients: `LivenessClient` and, with the same methods to be awaited, `AsyncLivenessClient`."""

import asyncio
import time
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from liveness_client import calls
from liveness_client.calls import Call, Faces, Kind
from liveness_client.errors import LivenessError
from liveness_client.media import Media, content_of
from liveness_client.results import ClipAnswer, Json, PhotoAnswer, Reason, Session, SessionResult

T = TypeVar("T")


class _Common:
    """Where the service is, and the key."""

    def __init__(self, url: str, key: str | None, timeout_s: float) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no address of a service: write e.g. https://liveness.example.com")
        self._url = url.rstrip("/")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._timeout_s = timeout_s

    def _request(self, call: Call[Any], left_s: float) -> dict[str, Any]:
        return {
            "method": call.method,
            "url": self._url + call.path,
            "params": dict(call.params),
            "headers": {**self._headers, **call.headers},
            "content": call.content,
            "timeout": calls.timeouts(left_s),
        }

    @staticmethod
    def _pause(call: Call[Any], error: LivenessError, least_s: float, end: float) -> float:
        """Seconds to wait before the next try; raises the error if there is none."""
        wait_s = call.retry_after(error)
        if wait_s is None or time.monotonic() + max(wait_s, least_s) >= end:
            raise error
        return max(wait_s, least_s)


class LivenessClient(_Common):
    """A client of one service, for use by several threads.

    Every method raises a `LivenessError`: a `ProblemError` of the service, one class for each code (`problems`), a
    `ConnectionFailedError`, or an `UnexpectedAnswerError`. What is refused with `Retry-After` (429, 503), and what
    could not be sent, is sent again as long as the call's time goes on.
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout_s: float = 60.0, http: httpx.Client | None = None
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            url: address of the service, with its prefix if it has one: `https://liveness.example.com`.
            key: the access key; None for a service without keys. Keys stay in back ends.
            timeout_s: longest time of a call, tries and pauses together. Without asyncio, an answer that drips in may
                take longer: then this is the longest wait for each part of it.
            http: your own httpx client (proxies, certificates); it is not closed here.
        """
        super().__init__(url, key, timeout_s)
        self._http = http or httpx.Client()
        self._owned = http is None

    def photo(
        self, image: Media, *, operating_point: str | None = None, faces: Faces = "single", explain: bool = False
    ) -> PhotoAnswer:
        """Score a photo: the camera's own file, as a path, bytes or an open file, or an array of pixels in RGB."""
        return self._run(calls.photo(content_of(image), operating_point, faces, explain=explain))

    def clip(
        self, video: Media, *, operating_point: str | None = None, faces: Faces = "single", explain: bool = False
    ) -> ClipAnswer:
        """Score a clip: a path, bytes or an open file."""
        return self._run(calls.clip(content_of(video), operating_point, faces, explain=explain))

    def reasons(self) -> dict[str, Reason]:
        """What each reason means, by its name."""
        return self._run(calls.reasons())

    def models(self) -> Json:
        """The loaded models, as the service describes them."""
        return self._run(calls.models())

    def open_session(
        self, kind: Kind = "photo", *, operating_point: str | None = None, ttl_s: int | None = None
    ) -> Session:
        """Open a capture session: a browser may upload one file to it, with its token and without the key."""
        return self._run(calls.open_session(kind, operating_point, ttl_s))

    def read_session(self, session_id: str) -> SessionResult:
        """Where a session stands. Its verdict is given once: after that `SessionReadError`."""
        return self._run(calls.read_session(session_id))

    def upload_to_session(self, session_id: str, token: str, file: Media) -> None:
        """Upload the file of a session, as a browser does; the key is not sent. It is never sent twice."""
        self._run(calls.upload_to_session(session_id, token, content_of(file)))

    def close(self) -> None:
        """Close the connections."""
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Call[T]) -> T:
        end = time.monotonic() + self._timeout_s
        for least_s in calls.pauses():
            try:
                return call.answer(self._send(call, end - time.monotonic()))
            except LivenessError as error:
                pause_s = self._pause(call, error, least_s, end)
            time.sleep(pause_s)
        raise AssertionError  # there is no end of pauses

    def _send(self, call: Call[Any], left_s: float) -> httpx.Response:
        try:
            return self._http.request(**self._request(call, left_s))
        except httpx.HTTPError as error:
            raise calls.failed(call, error) from error


class AsyncLivenessClient(_Common):
    """The same for asyncio; see `LivenessClient`."""

    def __init__(
        self, url: str, key: str | None = None, *, timeout_s: float = 60.0, http: httpx.AsyncClient | None = None
    ) -> None:
        """Make a client; see `LivenessClient`."""
        super().__init__(url, key, timeout_s)
        self._http = http or httpx.AsyncClient()
        self._owned = http is None

    async def photo(
        self, image: Media, *, operating_point: str | None = None, faces: Faces = "single", explain: bool = False
    ) -> PhotoAnswer:
        """Score a photo."""
        content = await asyncio.to_thread(content_of, image)
        return await self._run(calls.photo(content, operating_point, faces, explain=explain))

    async def clip(
        self, video: Media, *, operating_point: str | None = None, faces: Faces = "single", explain: bool = False
    ) -> ClipAnswer:
        """Score a clip."""
        content = await asyncio.to_thread(content_of, video)
        return await self._run(calls.clip(content, operating_point, faces, explain=explain))

    async def reasons(self) -> dict[str, Reason]:
        """What each reason means, by its name."""
        return await self._run(calls.reasons())

    async def models(self) -> Json:
        """The loaded models, as the service describes them."""
        return await self._run(calls.models())

    async def open_session(
        self, kind: Kind = "photo", *, operating_point: str | None = None, ttl_s: int | None = None
    ) -> Session:
        """Open a capture session."""
        return await self._run(calls.open_session(kind, operating_point, ttl_s))

    async def read_session(self, session_id: str) -> SessionResult:
        """Where a session stands. Its verdict is given once."""
        return await self._run(calls.read_session(session_id))

    async def upload_to_session(self, session_id: str, token: str, file: Media) -> None:
        """Upload the file of a session; the key is not sent."""
        content = await asyncio.to_thread(content_of, file)
        await self._run(calls.upload_to_session(session_id, token, content))

    async def close(self) -> None:
        """Close the connections."""
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: Call[T]) -> T:
        end = time.monotonic() + self._timeout_s
        for least_s in calls.pauses():
            try:
                return call.answer(await self._send(call, end - time.monotonic()))
            except LivenessError as error:
                pause_s = self._pause(call, error, least_s, end)
            await asyncio.sleep(pause_s)
        raise AssertionError  # there is no end of pauses

    async def _send(self, call: Call[Any], left_s: float) -> httpx.Response:
        try:
            async with asyncio.timeout(left_s):
                return await self._http.request(**self._request(call, left_s))
        except (httpx.HTTPError, TimeoutError) as error:
            raise calls.failed(call, error) from error
