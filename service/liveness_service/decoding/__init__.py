"""From the bytes of an upload to upright RGB pictures, within limits."""
