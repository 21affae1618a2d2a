"""The example answers that /docs shows."""

from typing import Any

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
        "noise": 0.21,
        "blockiness": 0.03,
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
        "index": 18 + 38 * part,
        "time_s": 0.6 + round(1.25 * part, 2),
        "score": 0.94,
        "box": [178.1, 58.9, 268.4, 173.4],
        "reasons": [],
    }
    for part in range(8)
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

IMAGE_EXAMPLES: dict[str, Any] = {
    "live": {"summary": "a live person", "value": _LIVE},
    "spoof": {"summary": "a photo or a screen", "value": _SPOOF},
    "no_face": {"summary": "no face found", "value": _NO_FACE},
    "face_too_small": {"summary": "refused for its quality", "value": _TOO_SMALL},
}

CLIP_EXAMPLES: dict[str, Any] = {
    "live": {"summary": "a live person", "value": _LIVE_CLIP},
    "spoof": {"summary": "a photo or a screen", "value": _SPOOF_CLIP},
    "too_few_frames": {"summary": "the face left the picture", "value": _TOO_FEW_FRAMES},
}
