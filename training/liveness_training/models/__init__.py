"""Encoders and heads. A bundle knows no architecture, only an encoder from `image` to `embedding` and `features`."""
