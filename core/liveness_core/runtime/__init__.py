"""Running ONNX networks. Execution providers and thread counts are chosen here and nowhere else."""

from liveness_core.runtime.options import (
    NEXT_PROVIDER,
    NetworkError,
    Provider,
    ProviderError,
    RuntimeOptions,
    TensorSession,
    TensorSpec,
)
from liveness_core.runtime.providers import candidates
from liveness_core.runtime.session import OrtSession

__all__ = [
    "NEXT_PROVIDER",
    "NetworkError",
    "OrtSession",
    "Provider",
    "ProviderError",
    "RuntimeOptions",
    "TensorSession",
    "TensorSpec",
    "candidates",
]
