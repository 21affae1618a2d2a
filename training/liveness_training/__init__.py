"""Training: from labelled faces to a model bundle."""

import liveness_core  # noqa: F401 (before ONNX Runtime, whose telemetry it switches off)
