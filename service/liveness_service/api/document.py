"""Completes the OpenAPI document that FastAPI makes: what enum values mean, headers, examples, kinds of content."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

from liveness_core.reasons import Reason
from liveness_service.api.openapi import BODY_SCHEMAS
from liveness_service.api.problems import CODES, MEDIA_TYPE
from liveness_service.results import Verdict
from liveness_service.sessions.store import SessionState
from liveness_service.sessions.token import SessionKind
from liveness_service.submission import FacePolicy

_TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    "Verdict": {
        Verdict.LIVE: "A person was before the camera: the score is at or above the threshold.",
        Verdict.SPOOF: "A photo, a screen or the like was before the camera: the score is below the threshold.",
        Verdict.UNDETERMINED: "There is no score; `reasons` say why. Never a pass.",
    },
    "Reason": {reason: f"{reason.text} {reason.advice}" for reason in Reason},
    "FacePolicy": {
        FacePolicy.SINGLE: "More than one face is undetermined.",
        FacePolicy.LARGEST: "The largest face counts, the others are ignored.",
        FacePolicy.ALL: "Each face is scored, and the image is live only if all are.",
    },
    "SessionKind": {
        SessionKind.PHOTO: "A photo, as on /v1/liveness.",
        SessionKind.CLIP: "A clip, as on /v1/liveness/video.",
    },
    "SessionState": {
        SessionState.WAITING: "Nothing was uploaded yet, or what was begun broke off.",
        SessionState.SCORING: "An upload is arriving or in work.",
        SessionState.SCORED: "There is a verdict, to be read once.",
        SessionState.FAILED: "The upload could not be scored; `problem` says why. The token is used up.",
        SessionState.EXPIRED: "The time for the upload is over.",
    },
    "ErrorCode": CODES,
}
_EXAMPLES = resources.files("liveness_service.api") / "examples.json"
"""What the default bundle answered, by path; `tests/support/examples.py` writes it."""
_SECONDS = {"type": "integer", "minimum": 1}
_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "X-Request-ID": {
        "description": "The request's id, also in the answer and in the service's log: the client's own "
        "`X-Request-ID` if it has at most 64 letters, digits, `.`, `_` and `-`, else a new ULID.",
        "schema": {"type": "string"},
    },
    "traceparent": {"description": "W3C trace context; continues the caller's trace.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds after which to try again.", "schema": _SECONDS},
    "WWW-Authenticate": {"description": "How to send a key: `Bearer`.", "schema": {"type": "string"}},
}
_ALWAYS = ("X-Request-ID", "traceparent")
_OF_STATUS = {"401": ("WWW-Authenticate",), "429": ("Retry-After",), "503": ("Retry-After",)}


def completed(schema: dict[str, Any]) -> dict[str, Any]:
    """Complete FastAPI's document, in place.

    Problems are not `application/json`, examples keep their null values, each value of an enum has a text, and each
    answer names its headers.
    """
    for operations in schema["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                content = response.get("content", {})
                if MEDIA_TYPE in content:
                    content[MEDIA_TYPE] |= content.pop("application/json", {})
                names = (*_ALWAYS, *_OF_STATUS.get(status, ()))
                response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    for path, examples in json.loads(_EXAMPLES.read_text(encoding="utf-8")).items():
        answer = schema["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]
        answer["examples"] = examples
    components = schema["components"]
    components["headers"] = _HEADERS
    schemas = components["schemas"]
    schemas.update(BODY_SCHEMAS)
    schemas["ErrorCode"] = {
        "type": "string",
        "title": "ErrorCode",
        "enum": list(CODES),
        "description": "Stable name of a kind of problem, for programs.",
    }
    code = schemas["Problem"]["properties"]["code"]
    schemas["Problem"]["properties"]["code"] = {
        "$ref": "#/components/schemas/ErrorCode",
        "description": code["description"],
    }
    for name, texts in _TEXTS.items():
        _explain(schemas[name], texts)
    return schema


def _explain(enum: dict[str, Any], texts: Mapping[str, str]) -> None:
    """Give each value of an enum its text: for people in the description, for generators as a list of their own."""
    enum["x-enum-descriptions"] = [texts[value] for value in enum["enum"]]
    lines = [f"- `{value}`: {texts[value]}" for value in enum["enum"]]
    enum["description"] = "\n".join([enum["description"], "", *lines])
