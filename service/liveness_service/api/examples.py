"""Worked examples for /docs."""

from typing import Any

from liveness_service.api.problems import MEDIA_TYPE, Problem

_FACE = {
    "box": [178.1, 58.9, 268.4, 173.4],
    "landmarks": [[204.4, 101.1], [247.4, 104.0], [225.7, 128.7], [202.2, 139.5], [245.4, 141.6]],
    "detection_confidence": 1.0,
    "score": 0.97,
    "verdict": "live",
    "reasons": [],
    "quality": {
        "face_px": 90.4,
        "sharpness": 0.82,
        "brightness": 0.6,
        "yaw_deg": 3.1,
        "pitch_deg": -4.0,
        "roll_deg": 3.8,
    },
    "heatmap_png": None,
}

_LIVE: dict[str, Any] = {
    "request_id": "01JZ7V0E8M3Q4N9T6B2C5D7F8G",
    "verdict": "live",
    "reasons": [],
    "score": 0.97,
    "threshold": 0.61,
    "operating_point": "apcer5",
    "faces": [_FACE],
    "image": {"width": 512, "height": 512},
    "model": {"name": "default", "version": "1"},
    "timings_ms": {"decode": 4.1, "detect": 12.0, "align": 0.4, "queue": 0.1, "infer": 4.5, "total": 21.9},
}

_SPOOF = _LIVE | {"verdict": "spoof", "score": 0.02, "faces": [_FACE | {"verdict": "spoof", "score": 0.02}]}

_NO_FACE = _LIVE | {"verdict": "undetermined", "reasons": ["no_face"], "score": None, "faces": []}

_TOO_SMALL = _LIVE | {
    "verdict": "undetermined",
    "reasons": ["face_too_small"],
    "score": None,
    "faces": [_FACE | {"verdict": "undetermined", "reasons": ["face_too_small"], "score": None}],
}


_CLIP_FRAMES = [
    {
        "index": 18 + 38 * place,
        "time_s": 0.6 + round(1.25 * place, 2),
        "score": 0.94,
        "box": [178.1, 58.9, 268.4, 173.4],
        "reasons": [],
    }
    for place in range(8)
]

_LIVE_CLIP: dict[str, Any] = _LIVE | {
    "clip": {"frames_used": 8, "duration_s": 10.0, "fps": 30.0, "width": 512, "height": 512},
    "frames": _CLIP_FRAMES,
    "frame_score": 0.94,
}

_SPOOF_CLIP = _LIVE_CLIP | {
    "verdict": "spoof",
    "score": 0.02,
    "faces": [_FACE | {"verdict": "spoof", "score": 0.02}],
    "frames": [frame | {"score": 0.05} for frame in _CLIP_FRAMES],
    "frame_score": 0.05,
}

_TOO_FEW_FRAMES = _LIVE_CLIP | {
    "verdict": "undetermined",
    "reasons": ["too_few_frames", "no_face"],
    "score": None,
    "faces": [_FACE | {"verdict": "undetermined", "score": None, "reasons": ["too_few_frames", "no_face"]}],
    "clip": _LIVE_CLIP["clip"] | {"frames_used": 7},
    "frames": [
        *(frame | {"score": None} for frame in _CLIP_FRAMES[:7]),
        _CLIP_FRAMES[7] | {"score": None, "box": None, "reasons": ["no_face"]},
    ],
    "frame_score": None,
}


def _problem(
    status: int, code: str, title: str, detail: str, description: str, instance: str = "/v1/liveness"
) -> dict[str, Any]:
    return {
        "model": Problem,
        "description": description,
        "content": {
            MEDIA_TYPE: {
                "example": {
                    "type": f"urn:face-liveness:problem:{code}",
                    "title": title,
                    "status": status,
                    "detail": detail,
                    "instance": instance,
                    "code": code,
                    "request_id": "01JZ7V0E8M3Q4N9T6B2C5D7F8G",
                }
            }
        },
    }


REFUSED: dict[int | str, dict[str, Any]] = {
    401: _problem(
        401,
        "unauthorized",
        "An access key is needed",
        "no access key came with the request: send the header `Authorization: Bearer KEY`",
        "No access key, or one that is not known.",
    ),
    403: _problem(
        403,
        "forbidden",
        "The access key lacks the permission",
        "the key prometheus has the permission operations, this needs score: use another key",
        "The access key is for something else.",
    ),
    429: _problem(
        429,
        "rate_limited",
        "Too many requests of one caller",
        "more than 100 per 1 minute for backend: wait 17 s (LIVENESS_RATE_LIMIT is the limit)",
        "Over the rate limit; see `Retry-After`.",
    ),
}

ROLE_REFUSED: dict[int | str, dict[str, Any]] = {
    409: _problem(
        409,
        "model_refused",
        "The bundle is refused",
        "encoder.int8.onnx: SHA-256 is 3f…, the manifest says 9a…: copy the whole bundle again",
        "The bundle cannot take the role, or there is none to go back to; everything stays as it was.",
    )
}

UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    503: _problem(
        503,
        "model_unavailable",
        "No verified model is loaded",
        "encoder.int8.onnx: SHA-256 is 3f…, the manifest says 9a…: copy the whole bundle again",
        "No verified model is loaded, too many requests are in work, or the audit log cannot be written; see "
        "`Retry-After`.",
    )
}

IMAGE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A verdict. `undetermined` is an answer too, never a pass.",
        "content": {
            "application/json": {
                "examples": {
                    "live": {"summary": "a live person", "value": _LIVE},
                    "spoof": {"summary": "a photo or a screen", "value": _SPOOF},
                    "no_face": {"summary": "no face found", "value": _NO_FACE},
                    "face_too_small": {"summary": "refused for its quality", "value": _TOO_SMALL},
                }
            }
        },
    },
    400: _problem(
        400,
        "unreadable_media",
        "The file cannot be read",
        "this JPEG image is truncated or damaged (…): check that it was sent whole and opens in a viewer",
        "Empty, truncated or damaged.",
    ),
    408: _problem(
        408, "upload_timeout", "The upload took too long", "the image did not arrive within 15 s", "Too slow."
    ),
    413: _problem(
        413,
        "too_many_pixels",
        "The picture has too many pixels",
        "the image is 12000x9000; at most 50,000,000 pixels are accepted: reduce it before sending",
        "Too many bytes or pixels.",
    ),
    415: _problem(
        415,
        "unsupported_media",
        "Not a kind of file that is accepted",
        "the content is a HEIC image; set the camera to JPEG (“most compatible”) or convert it; "
        "accepted are JPEG, PNG, WebP and BMP, told from the content",
        "Not JPEG, PNG, WebP or BMP.",
    ),
    422: _problem(
        422,
        "invalid_parameter",
        "A parameter is wrong",
        "operating_point: the bundle has no 'apcer3', only eer, apcer10, apcer5, apcer1",
        "A parameter or the form is wrong.",
    ),
    504: _problem(
        504, "deadline_exceeded", "The deadline has passed", "no answer within 10 s", "Not answered in time."
    ),
    **REFUSED,
    **UNAVAILABLE,
}

_FILE = {"type": "string", "format": "binary"}

IMAGE_BODY: dict[str, Any] = {
    "required": True,
    "description": "The image as the field `image` of a form, or as the body itself.",
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["image"], "properties": {"image": _FILE}},
        },
        "image/*": {"schema": _FILE},
    },
}

IMAGE_DESCRIPTION = """\
Send a JPEG, PNG, WebP or BMP image, either as a form field or as the body:

    curl -F image=@photo.jpg http://localhost:8000/v1/liveness
    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://localhost:8000/v1/liveness

The kind is told from the content. EXIF orientation is applied; all coordinates are pixels of the upright image.
Send the camera's own file: screenshots and re-compressed copies have lost what tells a screen from a face.

`undetermined` comes with reasons: `no_face`, `multiple_faces`, `too_many_faces`, `face_too_small`, `face_cut_off`,
`too_blurry`, `too_dark`, `too_bright`, `extreme_pose`.
"""

_CLIP_PATH = "/v1/liveness/video"

CLIP_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A verdict. `undetermined` is an answer too, never a pass.",
        "content": {
            "application/json": {
                "examples": {
                    "live": {"summary": "a live person", "value": _LIVE_CLIP},
                    "spoof": {"summary": "a photo or a screen", "value": _SPOOF_CLIP},
                    "too_few_frames": {"summary": "the face left the picture", "value": _TOO_FEW_FRAMES},
                }
            }
        },
    },
    400: _problem(
        400,
        "unreadable_media",
        "The file cannot be read",
        "the clip cannot be read: it is truncated or damaged (…); check that it was sent whole and plays in a browser",
        "Empty, truncated or damaged.",
        _CLIP_PATH,
    ),
    408: _problem(
        408,
        "upload_timeout",
        "The upload took too long",
        "the clip did not arrive within 60 s",
        "Too slow.",
        _CLIP_PATH,
    ),
    413: _problem(
        413,
        "too_many_seconds",
        "The clip is too long",
        "the video has more than 30 seconds: send a shorter one (LIVENESS_MAX_CLIP_SECONDS is the limit)",
        "Too many bytes, seconds, frames, pixels or streams: `too_many_bytes`, `too_many_seconds`, `too_many_frames`, "
        "`too_many_pixels`, `too_many_streams`.",
        _CLIP_PATH,
    ),
    415: _problem(
        415,
        "unsupported_media",
        "Not a kind of file that is accepted",
        "the content is a GIF image; accepted are MP4, MOV, 3GP, WebM, Matroska and AVI, told from the content",
        "Not MP4, MOV, 3GP, WebM, Matroska or AVI, or without pictures.",
        _CLIP_PATH,
    ),
    422: IMAGE_RESPONSES[422],
    501: _problem(
        501,
        "clips_unsupported",
        "The model scores no clips",
        "the bundle default has no temporal head (temporal.onnx), it scores photos only: send frames to /v1/liveness",
        "The loaded bundle scores photos only.",
        _CLIP_PATH,
    ),
    504: _problem(
        504,
        "deadline_exceeded",
        "The deadline has passed",
        "no answer within 30 s",
        "Not answered in time.",
        _CLIP_PATH,
    ),
    **REFUSED,
    **UNAVAILABLE,
}

CLIP_BODY: dict[str, Any] = {
    "required": True,
    "description": "The clip as the field `video` of a form, or as the body itself.",
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["video"], "properties": {"video": _FILE}},
        },
        "video/*": {"schema": _FILE},
    },
}

CLIP_DESCRIPTION = """\
Send a clip of a few seconds, either as a form field or as the body:

    curl -F video=@clip.mp4 http://localhost:8000/v1/liveness/video
    curl --data-binary @clip.webm -H 'Content-Type: video/webm' http://localhost:8000/v1/liveness/video

MP4, MOV, 3GP, WebM, Matroska or AVI, with H.264, HEVC, VP8, VP9, AV1, MPEG-4, H.263 or Motion JPEG; what a browser's
MediaRecorder writes can be sent as it is. The kind is told from the content, sound is ignored, rotation is applied.

The clip is cut into equal parts and one frame of each is looked at; where it shows no usable face, a neighbour in the
same part stands in. `score` is the clip's, from all these frames in their order; `frame_score` is the mean of their
scores as photos. One person must be seen from beginning to end.

`undetermined` comes with reasons: `clip_too_short`, `too_few_frames`, `face_changed` (a cut, or another face),
`frame_unreadable`, and those of photos.
"""
