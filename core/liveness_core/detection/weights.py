"""Weights that are part of this package, each checked against the hash of the file that was released."""

import hashlib
from importlib import resources

from liveness_core.detection.base import DetectorUnavailableError


def released(detector: str, folder: str, name: str, sha256: str) -> bytes:
    """The content of a weight file beside this module.

    Args:
        detector: name of the detector, for the message of the error.
        folder: folder in this package.
        name: name of the file.
        sha256: hash that its content must have.

    Raises:
        DetectorUnavailableError: the file is missing or is not the released one.
    """
    file = resources.files("liveness_core.detection") / folder / name
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise DetectorUnavailableError(f"{detector}: {name} is missing: reinstall face-liveness") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DetectorUnavailableError(f"{detector}: {name} is not the file that was released: reinstall face-liveness")
    return content
