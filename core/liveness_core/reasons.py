"""Why a picture or a clip gets no verdict: the one place where a reason has its name, its meaning and an advice.

A new reason is one line here, and a row in docs/api.md. The API's description, its table `/v1/reasons` and the clients
that are generated from them follow.
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Why the verdict is `undetermined`."""

    text: str
    """What was found, in one sentence, for whoever reads logs and answers."""
    advice: str
    """What the person before the camera can do, in one sentence, to be shown to them."""

    def __new__(cls, name: str, text: str, advice: str) -> Self:
        """Make a reason from its name in answers, which never changes within v1, and its two sentences."""
        reason = str.__new__(cls, name)
        reason._value_, reason.text, reason.advice = name, text, advice
        return reason

    NO_FACE = "no_face", "No face was found.", "Look into the camera, with more light on your face."
    MULTIPLE_FACES = "multiple_faces", "More than one face was found.", "Make sure that nobody else is in the picture."
    TOO_MANY_FACES = "too_many_faces", "More faces were found than are scored.", "Let fewer people into the picture."
    FACE_TOO_SMALL = "face_too_small", "The face is too small.", "Come closer to the camera."
    FACE_CUT_OFF = (
        "face_cut_off",
        "Part of the face is outside the picture.",
        "Move your whole face into the picture.",
    )
    FACE_ROTATED = "face_rotated", "The face lies on its side or upside down.", "Hold the camera upright."
    TOO_BLURRY = "too_blurry", "The face is blurred.", "Hold still, and wipe the lens."
    TOO_DARK = "too_dark", "The face is too dark.", "Turn your face to a light."
    TOO_BRIGHT = "too_bright", "The face is too bright.", "Move out of the bright light."
    TOO_NOISY = "too_noisy", "The picture of the face is noisy.", "Put more light on your face."
    TOO_COMPRESSED = (
        "too_compressed",
        "The picture was compressed too much.",
        "Send the file that the camera made, or record at a higher quality.",
    )
    EXTREME_POSE = "extreme_pose", "The head is turned or tilted too far.", "Look straight into the camera."
    CLIP_TOO_SHORT = "clip_too_short", "The clip is too short.", "Record for a few seconds."
    TOO_FEW_FRAMES = (
        "too_few_frames",
        "Too few frames of the clip show a usable face.",
        "Stay in the picture, facing the camera, from beginning to end.",
    )
    FACE_CHANGED = (
        "face_changed",
        "The face changes within the clip.",
        "Record again, alone and without sudden moves.",
    )
    STATIC_CLIP = "static_clip", "The clip is a still picture.", "Record yourself with the camera, moving a little."
    FRAME_UNREADABLE = "frame_unreadable", "A part of the clip is damaged.", "Record the clip again."
    SEEN_BEFORE = (
        "seen_before",
        "The same file was sent before.",
        "Take a new picture or record a new clip.",
    )
