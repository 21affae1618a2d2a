"""From the bytes of an upload to an upright RGB picture, within limits."""

import os

# Read by Pillow when it is imported. Blocks as large as this go back to the system when they are freed; smaller ones
# stay with the allocator, and a service that has once seen large pictures would keep hundreds of megabytes.
os.environ.setdefault("PILLOW_BLOCK_SIZE", "64m")
