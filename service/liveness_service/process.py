"""What the service changes for the whole process, all in one place, when it starts and not when it is imported."""

import contextlib
import ctypes
import os

import cv2
from PIL import Image

_MMAP_THRESHOLD = -3
"""glibc's M_MMAP_THRESHOLD."""
_MMAP_FROM_BYTES = 8 << 20
_PILLOW_BLOCK_BYTES = 64 << 20


def prepare_process() -> None:
    """Make memory go back to the system and libraries leave the cores to requests; a second call changes nothing.

    - OpenCV uses one thread a call: requests run side by side, and its threads would fight them for the cores.
    - Pillow allocates in large blocks, which go back to the system when they are freed. Small ones stay with the
      allocator, and a service that has once seen large pictures would keep hundreds of megabytes. The variable
      PILLOW_BLOCK_SIZE, where it is set, wins.
    - glibc treats blocks of up to 32 MB like that too, once one was freed: it would keep the frames of clips in 4K. The
      threshold is fixed at 8 MB and not below: what the face detector allocates in every run is smaller, and would
      come from the system each time.
    - Pillow's own limit on pixels is switched off: `decoding.image` checks the service's limit before it decodes, and
      Pillow would only warn.
    """
    cv2.setNumThreads(1)
    if "PILLOW_BLOCK_SIZE" not in os.environ:
        Image.core.set_block_size(_PILLOW_BLOCK_BYTES)  # type: ignore[attr-defined]  # documented, not in its stubs
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _MMAP_FROM_BYTES)
    Image.MAX_IMAGE_PIXELS = None
