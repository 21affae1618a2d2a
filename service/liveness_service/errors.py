"""What can go wrong with a request. Each error has a status, a stable code and a message that says what to check.

One handler turns these errors into RFC 9457 problems (`api.problems`). Codes are part of the API: they do not change
in v1.
"""

from liveness_service.service_error import ServiceError as ServiceError  # whoever catches errors has all from here


class UnreadableMediaError(ServiceError):
    """The file is of an accepted kind, but it is damaged."""

    status, code, title = 400, "unreadable_media", "The file cannot be read"


class DecoderFailedError(ServiceError):
    """The process that read the file ended, or was ended, over it: a crash, or more memory than it may take."""

    status, code, title = 400, "decoder_failed", "The file makes the decoder fail"


class EmptyBodyError(ServiceError):
    """The body, or the form's field, has no content."""

    status, code, title = 400, "empty_body", "The file is empty"


class MalformedBodyError(ServiceError):
    """The multipart body is malformed."""

    status, code, title = 400, "malformed_body", "The body cannot be read"


class MalformedRequestError(ServiceError):
    """What the client sent is not HTTP, or more of it than may come before an answer."""

    status, code, title = 400, "malformed_request", "Not a readable request"


class UnauthorizedError(ServiceError):
    """The request has no access key, or one that the service does not know."""

    status, code, title = 401, "unauthorized", "An access key is needed"

    @property
    def headers(self) -> dict[str, str]:
        """The header that says how to send a key; HTTP requires it with a 401."""
        return {"WWW-Authenticate": "Bearer"}


class ForbiddenError(ServiceError):
    """The access key lacks the permission that this request needs."""

    status, code, title = 403, "forbidden", "The access key lacks the permission"


class InvalidTokenError(ServiceError):
    """The upload has no token of its session, or a forged one."""

    status, code, title = 401, "invalid_token", "The session's token is needed"

    @property
    def headers(self) -> dict[str, str]:
        """The header that says how to send a token; HTTP requires it with a 401."""
        return {"WWW-Authenticate": "Bearer"}


class SessionNotFoundError(ServiceError):
    """The caller has no session of this id."""

    status, code, title = 404, "session_not_found", "There is no such session"


class SessionInUseError(ServiceError):
    """Another upload to this session is in work."""

    status, code, title = 409, "session_in_use", "Another upload to this session is in work"


class SessionUsedError(ServiceError):
    """The token of this session was used."""

    status, code, title = 409, "session_used", "The session's token was used"


class SessionExpiredError(ServiceError):
    """The session has ended without an upload."""

    status, code, title = 410, "session_expired", "The session has ended"


class SessionReadError(ServiceError):
    """The verdict of this session was read."""

    status, code, title = 410, "session_read", "The verdict was read"


class TooManySessionsError(ServiceError):
    """The caller has as many sessions as one caller may have."""

    status, code, title = 429, "too_many_sessions", "Too many sessions of one caller"
    retry_after_s = 5


class StoreUnavailableError(ServiceError):
    """The store of sessions does not answer."""

    status, code, title = 503, "store_unavailable", "The store of sessions does not answer"
    retry_after_s = 5


class HeaderTimeoutError(ServiceError):
    """The client took too long to send the head of its request."""

    status, code, title = 408, "header_timeout", "The head of the request took too long"


class UploadTimeoutError(ServiceError):
    """The client took too long to send its body."""

    status, code, title = 408, "upload_timeout", "The upload took too long"


class TooManyBytesError(ServiceError):
    """The body has more bytes than the service accepts."""

    status, code, title = 413, "too_many_bytes", "The file is too large"


class TooManyPixelsError(ServiceError):
    """The picture has more pixels than the service accepts, by its file's header."""

    status, code, title = 413, "too_many_pixels", "The picture has too many pixels"


class TooManyScansError(ServiceError):
    """Decoding the JPEG's scans would take too long."""

    status, code, title = 413, "too_many_scans", "The picture has too many scans"


class TooManyPartsError(ServiceError):
    """The file consists of too many segments, chunks, boxes or index entries."""

    status, code, title = 413, "too_many_parts", "The file has too many parts"


class TooManySecondsError(ServiceError):
    """The clip is longer than the service accepts."""

    status, code, title = 413, "too_many_seconds", "The clip is too long"


class TooManyFramesError(ServiceError):
    """The clip has more frames than the service accepts."""

    status, code, title = 413, "too_many_frames", "The clip has too many frames"


class TooMuchToDecodeError(ServiceError):
    """Reading the clip's frames would take, or has taken, too much work."""

    status, code, title = 413, "too_much_to_decode", "The clip takes too long to decode"


class TooManyStreamsError(ServiceError):
    """The clip's file has more streams than the service accepts."""

    status, code, title = 413, "too_many_streams", "The clip has too many streams"


class UnsupportedMediaError(ServiceError):
    """The content is not of an accepted kind; the file's name and its declared type do not matter."""

    status, code, title = 415, "unsupported_media", "Not a kind of file that is accepted"


class UnsupportedEncodingError(ServiceError):
    """The body is compressed (`Content-Encoding`), which would make the limits on bytes say little."""

    status, code, title = 415, "unsupported_encoding", "The body is compressed"

    @property
    def headers(self) -> dict[str, str]:
        """The header by which RFC 9110 lets a client know what it may send."""
        return {"Accept-Encoding": "identity"}


class TransparentImageError(ServiceError):
    """The picture has transparent pixels: what it shows depends on what lies behind it."""

    status, code, title = 415, "transparent_image", "The picture is transparent"


class InvalidParameterError(ServiceError):
    """A query parameter or form field is missing or wrong."""

    status, code, title = 422, "invalid_parameter", "A parameter is wrong"


class RateLimitedError(ServiceError):
    """One caller sends more requests than the rate limit allows."""

    status, code, title = 429, "rate_limited", "Too many requests of one caller"
    retry_after_s = 1

    def __init__(self, detail: str, retry_after_s: int) -> None:
        """Make the error; `retry_after_s` is how many seconds are left until the window ends."""
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class TooManyAtOnceError(ServiceError):
    """One caller has as many requests in work as one caller may have."""

    status, code, title = 429, "too_many_at_once", "Too many requests of one caller at once"
    retry_after_s = 1


class HeaderTooLargeError(ServiceError):
    """The request's target and header fields have more bytes than the service accepts."""

    status, code, title = 431, "header_too_large", "The head of the request is too large"


class ClipsUnsupportedError(ServiceError):
    """The loaded bundle scores photos only."""

    status, code, title = 501, "clips_unsupported", "The model scores no clips"


class ModelRefusedError(ServiceError):
    """A bundle cannot take the role that was asked for; nothing changes."""

    status, code, title = 409, "model_refused", "The bundle is refused"


class NoPreviousModelError(ServiceError):
    """There is no earlier bundle to go back to."""

    status, code, title = 409, "no_previous_model", "There is no previous model"


class OverloadedError(ServiceError):
    """The service already works on as many requests as it accepts."""

    status, code, title = 503, "overloaded", "Too many requests in work"
    retry_after_s = 1


class TooManyConnectionsError(ServiceError):
    """As many connections as the service accepts are in use."""

    status, code, title = 503, "too_many_connections", "Too many connections"
    retry_after_s = 1


class StoppingError(ServiceError):
    """The service is about to stop; another one should be asked."""

    status, code, title = 503, "stopping", "The service is about to stop"
    retry_after_s = 1


class ModelUnavailableError(ServiceError):
    """No verified model is loaded. A model's fault is always this exception, from the loader to the answer."""

    status, code, title = 503, "model_unavailable", "No verified model is loaded"
    retry_after_s = 30

    def __init__(self, file: str, reason: str) -> None:
        """Make the error.

        Args:
            file: where the fault is: a file of the bundle, the face detector, or the execution provider.
            reason: what is wrong with it and what to check.
        """
        super().__init__(f"{file}: {reason}", file=file, reason=reason)
        self.file = file
        self.reason = reason


class WorkersUnavailableError(ServiceError):
    """The processes that read uploads cannot be started, or none of them answers."""

    status, code, title = 503, "workers_unavailable", "Uploads cannot be read"
    retry_after_s = 5


class ScoringFailedError(ServiceError):
    """The model gave no usable score, so there is no verdict."""

    status, code, title = 503, "scoring_failed", "The model gave no score"
    retry_after_s = 1


class AuditFailedError(ServiceError):
    """The verdict could not be written to the audit log, so it is not given."""

    status, code, title = 503, "audit_failed", "The verdict could not be recorded"
    retry_after_s = 5


class DeadlineExceededError(ServiceError):
    """The answer was not ready before the deadline."""

    status, code, title = 504, "deadline_exceeded", "The deadline has passed"


def errors_of_content() -> dict[str, type[ServiceError]]:
    """The errors that only say what happened, by their codes: they can be made anew from code, detail and members."""
    return {kind.code: kind for kind in ServiceError.__subclasses__() if kind.__init__ is ServiceError.__init__}
