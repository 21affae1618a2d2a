import pytest

from liveness_service import errors

# Part of the API: programs compare with them, so they stay as they are in v1.
CODES = {
    "UnreadableMediaError": (400, "unreadable_media"),
    "DecoderFailedError": (400, "decoder_failed"),
    "EmptyBodyError": (400, "empty_body"),
    "MalformedBodyError": (400, "malformed_body"),
    "MalformedRequestError": (400, "malformed_request"),
    "UnauthorizedError": (401, "unauthorized"),
    "ForbiddenError": (403, "forbidden"),
    "InvalidTokenError": (401, "invalid_token"),
    "SessionNotFoundError": (404, "session_not_found"),
    "SessionInUseError": (409, "session_in_use"),
    "SessionUsedError": (409, "session_used"),
    "SessionExpiredError": (410, "session_expired"),
    "SessionReadError": (410, "session_read"),
    "TooManySessionsError": (429, "too_many_sessions"),
    "StoreUnavailableError": (503, "store_unavailable"),
    "HeaderTimeoutError": (408, "header_timeout"),
    "UploadTimeoutError": (408, "upload_timeout"),
    "TooManyBytesError": (413, "too_many_bytes"),
    "TooManyPixelsError": (413, "too_many_pixels"),
    "TooManyScansError": (413, "too_many_scans"),
    "TooManyPartsError": (413, "too_many_parts"),
    "TooManySecondsError": (413, "too_many_seconds"),
    "TooManyFramesError": (413, "too_many_frames"),
    "TooMuchToDecodeError": (413, "too_much_to_decode"),
    "TooManyStreamsError": (413, "too_many_streams"),
    "UnsupportedMediaError": (415, "unsupported_media"),
    "UnsupportedEncodingError": (415, "unsupported_encoding"),
    "TransparentImageError": (415, "transparent_image"),
    "InvalidParameterError": (422, "invalid_parameter"),
    "RateLimitedError": (429, "rate_limited"),
    "TooManyAtOnceError": (429, "too_many_at_once"),
    "HeaderTooLargeError": (431, "header_too_large"),
    "ClipsUnsupportedError": (501, "clips_unsupported"),
    "ModelRefusedError": (409, "model_refused"),
    "NoPreviousModelError": (409, "no_previous_model"),
    "OverloadedError": (503, "overloaded"),
    "TooManyConnectionsError": (503, "too_many_connections"),
    "StoppingError": (503, "stopping"),
    "ModelUnavailableError": (503, "model_unavailable"),
    "WorkersUnavailableError": (503, "workers_unavailable"),
    "ScoringFailedError": (503, "scoring_failed"),
    "AuditFailedError": (503, "audit_failed"),
    "DeadlineExceededError": (504, "deadline_exceeded"),
}


def test_statuses_and_codes_are_those_of_the_contract():
    kinds = {kind.__name__: (kind.status, kind.code) for kind in errors.ServiceError.__subclasses__()}
    assert kinds == CODES


@pytest.mark.parametrize("kind", errors.ServiceError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_whoever_may_try_again_is_told_when(kind):
    assert (kind.retry_after_s is not None) == (kind.status in (429, 503))


def test_an_error_says_what_it_was_given():
    error = errors.TooManyBytesError("too large: send less", limit=5)
    assert str(error) == error.detail == "too large: send less"
    assert error.members == {"limit": 5}
