"""From the bytes of an upload to an upright RGB picture, within limits."""
