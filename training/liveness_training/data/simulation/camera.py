"""The second camera, which takes the picture of every simulated attack."""

import cv2
import numpy as np

from liveness_core.types import Picture
from liveness_training.data.simulation.scene import Image


def recapture(picture: Image, random: np.random.Generator) -> Picture:
    """The picture as a second camera takes it.

    Defocus of 0.3 to 1.6 pixels at S = 224 (in proportion elsewhere), in one of five a moving hand of up to 5 pixels;
    exposure 0.7 to 1.15, white balance 0.93 to 1.07, contrast 0.85 to 1.15, sensor noise 0 to 3 %, more of it in
    the dark; in half of them the sharpening of a phone; JPEG of quality 40 to 95.
    """
    scale = picture.shape[0] / 224
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), random.uniform(0.3, 1.6) * scale), np.float32)
    if random.random() < 0.2:
        picture = _shaken(picture, random.uniform(1, 5) * scale, random.uniform(0, np.pi))
    gains = random.uniform(0.7, 1.15) * random.uniform(0.93, 1.07, 3)
    picture = picture * gains.astype(np.float32)
    middle = float(picture.mean())
    picture = middle + (picture - middle) * np.float32(random.uniform(0.85, 1.15))
    noise = random.standard_normal(picture.shape, dtype=np.float32) * np.float32(random.uniform(0, 0.03))
    picture = picture + noise * np.sqrt(np.clip(1.2 - picture, 0.2, 1))
    if random.random() < 0.5:
        soft = np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.2 * scale), np.float32)
        picture = picture + (picture - soft) * np.float32(random.uniform(0.3, 1.2))
    pixels = np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)
    return compressed(pixels, int(random.integers(40, 96)))


def compressed(pixels: Picture, quality: int) -> Picture:
    """An RGB picture as it looks after JPEG compression, with the halved chroma resolution of cameras."""
    return np.ascontiguousarray(through_jpeg(pixels[..., ::-1], quality)[..., ::-1])


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


def _shaken(picture: Image, length_px: float, angle: float) -> Image:
    """The picture blurred by a movement along a line during the exposure."""
    size = max(int(np.ceil(length_px)) | 1, 3)
    kernel = np.zeros((size, size), np.float32)
    middle = size // 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * length_px / 2
    start, end = (np.rint(middle + sign * reach).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0, 1)
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101), np.float32)
