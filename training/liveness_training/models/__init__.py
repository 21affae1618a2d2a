"""Encoders and heads. The bundle knows no architecture: an encoder maps `image` to `embedding` and `features`."""
