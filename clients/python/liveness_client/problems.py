"""One exception for each code of the service, so that `except RateLimitedError` is possible.

Written by tests/client/test_errors.py from the service's catalogue; do not edit.
"""

from liveness_client.errors import ProblemError


class UnreadableMediaError(ProblemError):
    """The file is of an accepted kind, but it is damaged."""

    code = "unreadable_media"


class DecoderFailedError(ProblemError):
    """The process that read the file ended, or was ended, over it: a crash, or more memory than it may take."""

    code = "decoder_failed"


class EmptyBodyError(ProblemError):
    """The body, or the form's field, has no content."""

    code = "empty_body"


class MalformedBodyError(ProblemError):
    """The multipart body is malformed."""

    code = "malformed_body"


class MalformedRequestError(ProblemError):
    """What the client sent is not HTTP, or more of it than may come before an answer."""

    code = "malformed_request"


class UnauthorizedError(ProblemError):
    """The request has no access key, or one that the service does not know."""

    code = "unauthorized"


class ForbiddenError(ProblemError):
    """The access key lacks the permission that this request needs."""

    code = "forbidden"


class InvalidTokenError(ProblemError):
    """The upload has no token of its session, or a forged one."""

    code = "invalid_token"


class SessionNotFoundError(ProblemError):
    """The caller has no session of this id."""

    code = "session_not_found"


class SessionInUseError(ProblemError):
    """Another upload to this session is in work."""

    code = "session_in_use"


class SessionUsedError(ProblemError):
    """The token of this session was used."""

    code = "session_used"


class SessionExpiredError(ProblemError):
    """The session has ended without an upload."""

    code = "session_expired"


class SessionReadError(ProblemError):
    """The verdict of this session was read."""

    code = "session_read"


class TooManySessionsError(ProblemError):
    """The caller has as many sessions as one caller may have."""

    code = "too_many_sessions"


class StoreUnavailableError(ProblemError):
    """The store of sessions does not answer."""

    code = "store_unavailable"


class HeaderTimeoutError(ProblemError):
    """The client took too long to send the head of its request."""

    code = "header_timeout"


class UploadTimeoutError(ProblemError):
    """The client took too long to send its body."""

    code = "upload_timeout"


class TooManyBytesError(ProblemError):
    """The body has more bytes than the service accepts."""

    code = "too_many_bytes"


class TooManyPixelsError(ProblemError):
    """The picture has more pixels than the service accepts, by its file's header."""

    code = "too_many_pixels"


class TooManyScansError(ProblemError):
    """Decoding the JPEG's scans would take too long."""

    code = "too_many_scans"


class TooManyPartsError(ProblemError):
    """The file consists of too many segments, chunks, boxes or index entries."""

    code = "too_many_parts"


class TooManySecondsError(ProblemError):
    """The clip is longer than the service accepts."""

    code = "too_many_seconds"


class TooManyFramesError(ProblemError):
    """The clip has more frames than the service accepts."""

    code = "too_many_frames"


class TooMuchToDecodeError(ProblemError):
    """Reading the clip's frames would take, or has taken, too much work."""

    code = "too_much_to_decode"


class TooManyStreamsError(ProblemError):
    """The clip's file has more streams than the service accepts."""

    code = "too_many_streams"


class UnsupportedMediaError(ProblemError):
    """The content is not of an accepted kind; the file's name and its declared type do not matter."""

    code = "unsupported_media"


class UnsupportedEncodingError(ProblemError):
    """The body is compressed (`Content-Encoding`), which would make the limits on bytes say little."""

    code = "unsupported_encoding"


class TransparentImageError(ProblemError):
    """The picture has transparent pixels: what it shows depends on what lies behind it."""

    code = "transparent_image"


class InvalidParameterError(ProblemError):
    """A query parameter or form field is missing or wrong."""

    code = "invalid_parameter"


class RateLimitedError(ProblemError):
    """One caller sends more requests than the rate limit allows."""

    code = "rate_limited"


class TooManyAtOnceError(ProblemError):
    """One caller has as many requests in work as one caller may have."""

    code = "too_many_at_once"


class HeaderTooLargeError(ProblemError):
    """The request's target and header fields have more bytes than the service accepts."""

    code = "header_too_large"


class ClipsUnsupportedError(ProblemError):
    """The loaded bundle scores photos only."""

    code = "clips_unsupported"


class ModelRefusedError(ProblemError):
    """A bundle cannot take the role that was asked for; nothing changes."""

    code = "model_refused"


class NoPreviousModelError(ProblemError):
    """There is no earlier bundle to go back to."""

    code = "no_previous_model"


class OverloadedError(ProblemError):
    """The service already works on as many requests as it accepts."""

    code = "overloaded"


class TooManyConnectionsError(ProblemError):
    """As many connections as the service accepts are in use."""

    code = "too_many_connections"


class StoppingError(ProblemError):
    """The service is about to stop; another one should be asked."""

    code = "stopping"


class ModelUnavailableError(ProblemError):
    """No verified model is loaded."""

    code = "model_unavailable"


class WorkersUnavailableError(ProblemError):
    """The processes that read uploads cannot be started, or none of them answers."""

    code = "workers_unavailable"


class ScoringFailedError(ProblemError):
    """The model gave no usable score, so there is no verdict."""

    code = "scoring_failed"


class AuditFailedError(ProblemError):
    """The verdict could not be written to the audit log, so it is not given."""

    code = "audit_failed"


class DeadlineExceededError(ProblemError):
    """The answer was not ready before the deadline."""

    code = "deadline_exceeded"


class BadRequestError(ProblemError):
    """The body of an operation is not JSON."""

    code = "bad_request"


class NotFoundError(ProblemError):
    """There is nothing at this path."""

    code = "not_found"


class MethodNotAllowedError(ProblemError):
    """The path does not take this method; the header `Allow` lists those that it takes."""

    code = "method_not_allowed"


class InternalError(ProblemError):
    """A fault of the service; its log has the cause."""

    code = "internal_error"
