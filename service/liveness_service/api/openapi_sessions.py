"""What the OpenAPI document says about capture sessions beyond their types."""

from liveness_service import errors
from liveness_service.api.openapi import (
    CLIP_RESPONSES,
    FILE,
    IMAGE_RESPONSES,
    REFUSED,
    UNAVAILABLE,
    WRONG_PARAMETER,
    Responses,
    refusal,
)
from liveness_service.api.problems import MEDIA_TYPE, Problem

_SESSION = "/v1/sessions/5f0c2a9d4b7e4f7f9d3a1c8e6b2f0d47"
_UPLOAD = f"{_SESSION}/upload"
_NO_STORE = refusal(
    errors.StoreUnavailableError,
    "the store of sessions does not answer, so no session is opened, used or read: try again, and check "
    "LIVENESS_SESSION_STORE",
    "The store of sessions does not answer.",
    _SESSION,
)

CLOSED: Responses = {**WRONG_PARAMETER, **REFUSED, 503: _NO_STORE}
"""What may be answered to callers with a key wherever sessions are concerned."""

OPEN_REFUSED: Responses = {
    **CLOSED,
    400: {
        "model": Problem,
        "description": "The body is not JSON: `bad_request`.",
        "content": {MEDIA_TYPE: {}},
    },
    501: CLIP_RESPONSES[501],
    503: UNAVAILABLE[503] | {"description": "No verified model is loaded, or the store of sessions does not answer."},
}

UNKNOWN_SESSION: Responses = {
    404: refusal(
        errors.SessionNotFoundError,
        "this key has no session of this id: check the id, and whether the session ended long ago",
        "The key has no such session, or it ended long ago.",
        _SESSION,
    )
}

ENDED: Responses = {
    410: refusal(
        errors.SessionReadError,
        "the verdict of this session was read: it is given once",
        "The verdict was read: `session_read`.",
        _SESSION,
    )
}

SESSION_RESPONSES: Responses = {
    202: {"description": "The upload was scored. The verdict is for the back end."},
    **{status: answer for status, answer in (IMAGE_RESPONSES | CLIP_RESPONSES).items() if status not in (200, 403)},
    401: refusal(
        errors.InvalidTokenError,
        "this path needs the token of its session: send the header `Authorization: Bearer TOKEN`, with the token that "
        "came with this session_id",
        "No token, a forged one, or that of another session.",
        _UPLOAD,
    ),
    409: refusal(
        errors.SessionUsedError,
        "the token of this session was used: open a new session for another capture",
        "The token was used (`session_used`), or another upload with it is in work (`session_in_use`).",
        _UPLOAD,
    ),
    410: refusal(
        errors.SessionExpiredError, "this session has ended: open a new one", "The session has ended.", _UPLOAD
    ),
}

SESSION_BODY = {
    "required": True,
    "description": "The file. A form or JSON with `image` or `video` works too, as on the path for plain uploads.",
    # One kind is described: generated clients then take a file and nothing else.
    "content": {"application/octet-stream": {"schema": FILE}},
}

SESSION_DESCRIPTION = """\
Send the file with the session's token, and no access key:

    curl --data-binary @photo.jpg -H "Authorization: Bearer $TOKEN" http://localhost:8000$UPLOAD_URL

The answer says that the file was scored, never how. The token is used up as soon as the whole file is here and there is
room to score it, whatever comes of it. What was refused before (`session_state` of the problem is `waiting`: a broken
connection, too many bytes, 429, 503) may be sent again, ten times in all.
"""
