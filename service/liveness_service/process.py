"""All that the service changes for the whole process, in one place. It happens at start, not on import."""

import contextlib
import ctypes
import gc
import os

import cv2
import pillow_heif
from PIL import AvifImagePlugin, Image

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's parameters M_TRIM_THRESHOLD and M_MMAP_THRESHOLD."""
_MMAP_FROM_BYTES = 8 << 20
"""glibc takes blocks of this size and more from the system, and gives them back when they are freed."""
_TRIM_FROM_BYTES = 8 << 20
"""glibc keeps up to this much free memory at the end of each of its heaps."""
_PILLOW_BLOCK_BYTES = 64 << 20
"""Size of the blocks in which Pillow allocates pictures."""


def prepare_process() -> None:
    """Let freed memory go back to the system, and keep libraries from taking cores that requests need.

    A second call changes nothing.

    - OpenCV uses one thread for each call: requests run side by side, and OpenCV's threads would compete with them for
      the cores.
    - HEIC and AVIF are decoded in one thread as well, and of a HEIC the main picture alone is looked at.
    - Pillow allocates pictures in large blocks, which go back to the system when they are freed. Small blocks stay with
      the allocator, so that a service that has once seen large pictures would keep hundreds of megabytes. Where the
      variable PILLOW_BLOCK_SIZE is set, its value is used.
    - glibc raises its threshold when a large block is freed and from then on keeps blocks of up to 32 MB, among them
      the frames of clips in 4K. So the threshold is fixed, at 8 MB. It must not be lower: the face detector allocates
      smaller blocks in every run, and each would have to come from the system anew.
    - A fixed threshold also fixes the size, 128 kB, from which free memory at the end of a heap is given back. Each
      batch of crops would then take its 5 MB from the system anew, an eighth of the encoder's time. So that is 8 MB.
    - Pillow's own limit on pixels is switched off: `decoding.image` checks the service's limit before it decodes, and
      Pillow would only warn.
    """
    cv2.setNumThreads(1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False
    if "PILLOW_BLOCK_SIZE" not in os.environ:
        Image.core.set_block_size(_PILLOW_BLOCK_BYTES)  # type: ignore[attr-defined]  # documented, not in its stubs
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library than glibc has no `mallopt`
        glibc = ctypes.CDLL(None)
        glibc.mallopt(_MMAP_THRESHOLD, _MMAP_FROM_BYTES)
        glibc.mallopt(_TRIM_THRESHOLD, _TRIM_FROM_BYTES)
    Image.MAX_IMAGE_PIXELS = None


def settle_process() -> None:
    """Leave what is loaded by now to itself: Python's collector no longer looks at it.

    A full collection looked at 130,000 objects of modules and routes and held up every request for 50 ms.
    """
    gc.collect()
    gc.freeze()
