"""What the OpenAPI document says about routes beyond their types: bodies, responses, descriptions."""

from typing import Any

from liveness_core.reasons import Reason
from liveness_service import errors
from liveness_service.api.problems import MEDIA_TYPE, Problem
from liveness_service.decoding.kinds import ACCEPTED
from liveness_service.errors import ServiceError
from liveness_service.submission import Endpoint

Responses = dict[int | str, dict[str, Any]]
"""The responses of a route by status, in the form that FastAPI takes."""

_PHOTOS = ACCEPTED.replace(" and ", " or ")


def refusal(
    error: type[ServiceError], detail: str, description: str, path: str = Endpoint.PHOTO.value
) -> dict[str, Any]:
    """Describe the response for an error, with an example for this path; `detail` is the example's text."""
    return {
        "model": Problem,
        "description": description,
        "content": {
            MEDIA_TYPE: {
                "example": {
                    "type": f"urn:face-liveness:problem:{error.code}",
                    "title": error.title,
                    "status": error.status,
                    "detail": detail,
                    "instance": path,
                    "code": error.code,
                    "request_id": "01JZ7V0E8M3Q4N9T6B2C5D7F8G",
                }
            }
        },
    }


REFUSED: Responses = {
    401: refusal(
        errors.UnauthorizedError,
        "no access key came with the request: send the header `Authorization: Bearer KEY`",
        "No access key, or one that is not known.",
    ),
    403: refusal(
        errors.ForbiddenError,
        "the key prometheus has the permission operations, this needs score: use another key",
        "The access key is for something else.",
    ),
    429: refusal(
        errors.RateLimitedError,
        "more than 100 per 1 minute for backend: wait 17 s (LIVENESS_RATE_LIMIT is the limit)",
        "Over the rate limit, or too many requests of one caller at once; see `Retry-After`.",
    ),
    431: refusal(
        errors.HeaderTooLargeError,
        "the request's target and header fields have more than 32,768 bytes: send fewer or shorter ones "
        "(LIVENESS_MAX_HEADER_BYTES is the limit)",
        "The header fields are too long.",
    ),
}

ROLE_REFUSED: Responses = {
    409: refusal(
        errors.ModelRefusedError,
        "encoder.int8.onnx: SHA-256 is 3f…, the manifest says 9a…: copy the whole bundle again",
        "The bundle cannot take the role, or there is none to go back to; everything stays as it was.",
    )
}

UNAVAILABLE: Responses = {
    503: refusal(
        errors.ModelUnavailableError,
        "encoder.int8.onnx: SHA-256 is 3f…, the manifest says 9a…: copy the whole bundle again",
        "No verified model is loaded, too many requests are in work, or the audit log cannot be written; see "
        "`Retry-After`.",
    )
}

WRONG_PARAMETER: Responses = {
    422: refusal(
        errors.InvalidParameterError,
        "operating_point: the bundle has no 'apcer3', only eer, apcer10, apcer5, apcer1",
        "A parameter, a form or a JSON object is wrong.",
    )
}

IMAGE_RESPONSES: Responses = {
    200: {"description": "A verdict. `undetermined` is an answer too, never a pass."},
    400: refusal(
        errors.UnreadableMediaError,
        "this JPEG image is truncated or damaged (…): check that it was sent whole and opens in a viewer",
        "Empty, truncated or damaged; or a form, JSON or base64 that cannot be read.",
    ),
    408: refusal(errors.UploadTimeoutError, "the image did not arrive within 15 s", "Too slow."),
    413: refusal(
        errors.TooManyPixelsError,
        "the image is 12000x9000; at most 50,000,000 pixels are accepted: reduce it before sending",
        "Too many bytes, pixels, scans (JPEG) or parts: `too_many_bytes`, `too_many_pixels`, `too_many_scans`, "
        "`too_many_parts`.",
    ),
    415: refusal(
        errors.UnsupportedMediaError,
        f"the content is a TIFF image; accepted are {ACCEPTED}, told from the content",
        f"Not {_PHOTOS}, or a sequence of pictures; or a body with a `Content-Encoding`: `unsupported_encoding`.",
    ),
    504: refusal(errors.DeadlineExceededError, "no answer within 10 s", "Not answered in time."),
    **WRONG_PARAMETER,
    **REFUSED,
    **UNAVAILABLE,
}

FILE = {"type": "string", "format": "binary"}
_REASONS = ", ".join(f"`{reason}`" for reason in Reason)


def _object(field: str, noun: str, file: dict[str, Any]) -> dict[str, Any]:
    return {"title": noun, "type": "object", "required": [field], "properties": {field: file}}


def _base64(field: str, noun: str, media_type: str) -> dict[str, Any]:
    told = f"The file as base64, or as a data URL (`data:{media_type};base64,…`)."
    file = {"type": "string", "description": told}
    return _object(field, noun, file) | {"additionalProperties": False}


BODY_SCHEMAS: dict[str, Any] = {
    "ImageForm": _object("image", "ImageForm", FILE),
    "ImageJson": _base64("image", "ImageJson", "image/jpeg"),
    "ClipForm": _object("video", "ClipForm", FILE),
    "ClipJson": _base64("video", "ClipJson", "video/mp4"),
}
"""The bodies of uploads. FastAPI knows nothing of them, since the service reads bodies itself."""


def _body(description: str, form: str, json: str) -> dict[str, Any]:
    return {
        "required": True,
        "description": description,
        "content": {
            "multipart/form-data": {"schema": {"$ref": f"#/components/schemas/{form}"}},
            # Any type may be declared. This one is what generators of clients know.
            "application/octet-stream": {"schema": FILE},
            "application/json": {"schema": {"$ref": f"#/components/schemas/{json}"}},
        },
    }


IMAGE_BODY = _body(
    "The image as the field `image` of a form, as the body itself (of any declared type), or as base64 in JSON.",
    "ImageForm",
    "ImageJson",
)

IMAGE_DESCRIPTION = """\
Send an image (PHOTOS) as a form field, as the body, or as base64 in JSON:

    curl -F image=@photo.jpg http://localhost:8000/v1/liveness
    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://localhost:8000/v1/liveness
    curl --json '{"image": "data:image/jpeg;base64,…"}' http://localhost:8000/v1/liveness

The kind is told from the content. EXIF orientation is applied; all coordinates are pixels of the upright image.
Send the camera's own file: screenshots and re-compressed copies have lost what tells a screen from a face.

`undetermined` comes with reasons; `/v1/reasons` says what each means and what to tell the user: REASONS.
""".replace("PHOTOS", _PHOTOS).replace("REASONS", _REASONS)

CLIP_RESPONSES: Responses = {
    200: {"description": "A verdict. `undetermined` is an answer too, never a pass."},
    400: refusal(
        errors.UnreadableMediaError,
        "the clip cannot be read: it is truncated or damaged (…); check that it was sent whole and plays in a browser",
        "Empty, truncated or damaged; or a form, JSON or base64 that cannot be read.",
        Endpoint.CLIP.value,
    ),
    408: refusal(
        errors.UploadTimeoutError,
        "the clip did not arrive within 60 s",
        "Too slow.",
        Endpoint.CLIP.value,
    ),
    413: refusal(
        errors.TooManySecondsError,
        "the video has more than 30 seconds: send a shorter one (LIVENESS_MAX_CLIP_SECONDS is the limit)",
        "Too many bytes, seconds, frames, pixels, streams or parts: `too_many_bytes`, `too_many_seconds`, "
        "`too_many_frames`, `too_many_pixels`, `too_many_streams`, `too_many_parts`, `too_much_to_decode`.",
        Endpoint.CLIP.value,
    ),
    415: refusal(
        errors.UnsupportedMediaError,
        "the content is a GIF image; accepted are MP4, MOV, 3GP, WebM, Matroska and AVI, told from the content",
        "Not MP4, MOV, 3GP, WebM, Matroska or AVI, or without pictures; or a body with a `Content-Encoding`: "
        "`unsupported_encoding`.",
        Endpoint.CLIP.value,
    ),
    501: refusal(
        errors.ClipsUnsupportedError,
        "the bundle default has no temporal head (temporal.onnx), it scores photos only: send frames to /v1/liveness",
        "The loaded bundle scores photos only.",
        Endpoint.CLIP.value,
    ),
    504: refusal(
        errors.DeadlineExceededError,
        "no answer within 30 s",
        "Not answered in time.",
        Endpoint.CLIP.value,
    ),
    **WRONG_PARAMETER,
    **REFUSED,
    **UNAVAILABLE,
}

CLIP_BODY = _body(
    "The clip as the field `video` of a form, as the body itself (of any declared type), or as base64 in JSON.",
    "ClipForm",
    "ClipJson",
)

CLIP_DESCRIPTION = """\
Send a clip of a few seconds as a form field, as the body, or as base64 in JSON (`video`):

    curl -F video=@clip.mp4 http://localhost:8000/v1/liveness/video
    curl --data-binary @clip.webm -H 'Content-Type: video/webm' http://localhost:8000/v1/liveness/video

MP4, MOV, 3GP, WebM, Matroska or AVI, with H.264, HEVC, VP8, VP9, AV1, MPEG-4, H.263 or Motion JPEG; what a browser's
MediaRecorder writes can be sent as it is. The kind is told from the content, sound is ignored, rotation is applied.

The clip is cut into parts of equal duration and one frame of each is looked at; where it shows no usable face, another
one stands in. `score` is the clip's, from all these frames in their order; `frame_score` is the mean of their
scores as photos. One person must be seen from beginning to end.

`undetermined` comes with reasons; `/v1/reasons` says what each means and what to tell the user: REASONS.
""".replace("REASONS", _REASONS)
