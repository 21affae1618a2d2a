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


def _problem(status: int, code: str, title: str, detail: str, description: str) -> dict[str, Any]:
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
                    "instance": "/v1/liveness",
                    "code": code,
                    "request_id": "01JZ7V0E8M3Q4N9T6B2C5D7F8G",
                }
            }
        },
    }


UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    503: _problem(
        503,
        "model_unavailable",
        "No verified model is loaded",
        "encoder.int8.onnx: SHA-256 is 3f…, the manifest says 9a…: copy the whole bundle again",
        "No verified model is loaded, or too many requests are in work; see `Retry-After`.",
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
        "The image cannot be read",
        "this JPEG image is truncated or damaged (…): check that it was sent whole and opens in a viewer",
        "Empty, truncated or damaged.",
    ),
    408: _problem(
        408, "upload_timeout", "The upload took too long", "the image did not arrive within 15 s", "Too slow."
    ),
    413: _problem(
        413,
        "too_many_pixels",
        "The image has too many pixels",
        "the image is 12000x9000; at most 50,000,000 pixels are accepted: reduce it before sending",
        "Too many bytes or pixels.",
    ),
    415: _problem(
        415,
        "unsupported_media",
        "Not an image that is accepted",
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
