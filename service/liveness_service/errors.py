"""What can go wrong with a request: each error has a status, a stable code and a message that says what to check.

One handler turns them into RFC 9457 problems (`api.problems`). Codes are part of the API: they do not change in v1.
"""

from typing import ClassVar


class ServiceError(Exception):
    """Base of all errors that are answered as they are."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    retry_after_s: int | None = None

    def __init__(self, detail: str, **members: str | float) -> None:
        """`detail` says what to check; `members` are added to the problem as they are."""
        super().__init__(detail)
        self.detail = detail
        self.members = members

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that go with the answer."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


class UnreadableMediaError(ServiceError):
    """The file is of a kind that we take, and broken."""

    status, code, title = 400, "unreadable_media", "The file cannot be read"


class EmptyBodyError(ServiceError):
    """There is nothing in the body or in the field."""

    status, code, title = 400, "empty_body", "The file is empty"


class MalformedBodyError(ServiceError):
    """The multipart body does not follow its own format."""

    status, code, title = 400, "malformed_body", "The body cannot be read"


class UnauthorizedError(ServiceError):
    """There is no access key, or one that is not known."""

    status, code, title = 401, "unauthorized", "An access key is needed"

    @property
    def headers(self) -> dict[str, str]:
        """With the way to present a key, which a 401 must name."""
        return {"WWW-Authenticate": "Bearer"}


class ForbiddenError(ServiceError):
    """The access key is for something else."""

    status, code, title = 403, "forbidden", "The access key lacks the permission"


class UploadTimeoutError(ServiceError):
    """The client took too long to send its body."""

    status, code, title = 408, "upload_timeout", "The upload took too long"


class TooManyBytesError(ServiceError):
    """The body is larger than is accepted."""

    status, code, title = 413, "too_many_bytes", "The file is too large"


class TooManyPixelsError(ServiceError):
    """The header says that the picture is larger than is accepted."""

    status, code, title = 413, "too_many_pixels", "The picture has too many pixels"


class TooManySecondsError(ServiceError):
    """The clip is longer than is accepted."""

    status, code, title = 413, "too_many_seconds", "The clip is too long"


class TooManyFramesError(ServiceError):
    """The clip has more frames than are accepted."""

    status, code, title = 413, "too_many_frames", "The clip has too many frames"


class TooManyStreamsError(ServiceError):
    """The clip's file holds more streams than are accepted."""

    status, code, title = 413, "too_many_streams", "The clip has too many streams"


class UnsupportedMediaError(ServiceError):
    """The content is of no kind that we take, whatever its name or declared type."""

    status, code, title = 415, "unsupported_media", "Not a kind of file that is accepted"


class InvalidParameterError(ServiceError):
    """A query parameter or form field is missing or wrong."""

    status, code, title = 422, "invalid_parameter", "A parameter is wrong"


class RateLimitedError(ServiceError):
    """One caller asks more often than is accepted."""

    status, code, title = 429, "rate_limited", "Too many requests of one caller"
    retry_after_s = 1

    def __init__(self, detail: str, retry_after_s: int) -> None:
        """`retry_after_s` is when the window ends."""
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class ClipsUnsupportedError(ServiceError):
    """The loaded bundle scores photos only."""

    status, code, title = 501, "clips_unsupported", "The model scores no clips"


class ModelRefusedError(ServiceError):
    """A bundle cannot take the role it was to get; everything stays as it was."""

    status, code, title = 409, "model_refused", "The bundle is refused"


class NoPreviousModelError(ServiceError):
    """There is nothing to go back to."""

    status, code, title = 409, "no_previous_model", "There is no previous model"


class OverloadedError(ServiceError):
    """As many requests as are accepted are in work."""

    status, code, title = 503, "overloaded", "Too many requests in work"
    retry_after_s = 1


class ModelUnavailableError(ServiceError):
    """No verified model is loaded: the one exception for a model's fault, from the loader to the answer."""

    status, code, title = 503, "model_unavailable", "No verified model is loaded"
    retry_after_s = 30

    def __init__(self, file: str, reason: str) -> None:
        """Name the fault.

        Args:
            file: what is at fault: a file of the bundle, the face detector, or the execution provider.
            reason: what is wrong with it and what to check.
        """
        super().__init__(f"{file}: {reason}", file=file, reason=reason)
        self.file = file
        self.reason = reason


class ScoringFailedError(ServiceError):
    """The model gave no usable score; nothing is concluded from it."""

    status, code, title = 503, "scoring_failed", "The model gave no score"
    retry_after_s = 1


class AuditFailedError(ServiceError):
    """The verdict could not be written to the audit log, so it is not given."""

    status, code, title = 503, "audit_failed", "The verdict could not be recorded"
    retry_after_s = 5


class DeadlineExceededError(ServiceError):
    """The answer was not there in time."""

    status, code, title = 504, "deadline_exceeded", "The deadline has passed"
