"""JPEG compression of crops."""

import cv2
import numpy as np

from liveness_core.types import Picture


def through_jpeg(pixels: Picture, quality: int) -> Picture:
    """The picture as it looks after JPEG compression, in the order of channels that it came in.

    Args:
        pixels: shape (H, W, 3). The encoder takes them for BGR, so give it BGR to lose colour as
            a camera does.
        quality: 1 to 100.

    Raises:
        RuntimeError: OpenCV cannot encode or decode it.
    """
    encoded, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(content, cv2.IMREAD_COLOR) if encoded else None
    if decoded is None:
        raise RuntimeError(f"OpenCV cannot compress a picture of shape {pixels.shape} as JPEG and read it again")
    return decoded.astype(np.uint8, copy=False)
