"""From the bytes of an upload to upright RGB pictures, within limits."""

import contextlib
import ctypes
import os

# Read by Pillow when it is imported. Blocks as large as this go back to the system when they are freed; smaller ones
# stay with the allocator, and a service that has once seen large pictures would keep hundreds of megabytes.
os.environ.setdefault("PILLOW_BLOCK_SIZE", "64m")

# glibc treats blocks of up to 32 MB like that too, once one was freed: it would keep the frames of clips in 4K. Not
# less than 8 MB: what the face detector allocates in every run is smaller, and would come from the system each time.
_M_MMAP_THRESHOLD = -3
with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 8 << 20)
