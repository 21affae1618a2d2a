"""Small real videos, encoded by PyAV as the data sets' files are."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

_CODECS = {".avi": "mpeg4", ".mov": "h264", ".mp4": "h264", ".m4v": "h264", ".mkv": "h264", ".webm": "libvpx"}


def write_video(
    path: Path, frames: Sequence[NDArray[Any]], fps: int = 25, rotation_deg: int = 0, codec: str | None = None
) -> Path:
    """Encode the frames; the container and the codec follow from the suffix.

    Args:
        path: the file; its folder is made.
        frames: RGB pictures of one even size, (H, W, 3) in uint8; (T, H, W, 3) will do.
        fps: frames a second.
        rotation_deg: by how much a player has to turn the stored frames clockwise, written into the container; only
            .mov and .mp4 can hold it.
        codec: another one than the suffix's, e.g. `mjpeg`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec or _CODECS[path.suffix.lower()], rate=fps)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if rotation_deg:
            stream.set_display_rotation(-rotation_deg)  # PyAV counts counter-clockwise
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return path


def tiny_frames(count: int = 3, size: int = 32) -> NDArray[np.uint8]:
    """Pictures that get brighter, (count, size, size, 3)."""
    levels = np.linspace(40, 200, count).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, size, size, 3)).copy()


def plant(root: Path, names: Iterable[str]) -> Path:
    """Real videos of these names below a folder: one is encoded for each suffix, the others are links to it."""
    made: dict[str, Path] = {}
    for name in names:
        path = root / name
        if path.suffix in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(made[path.suffix], path)
        else:
            made[path.suffix] = write_video(path, tiny_frames())
    return root
