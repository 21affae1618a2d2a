"""The model bundle: the folder that training writes and the service loads. docs/bundle.md describes its format."""

from liveness_core.bundle.errors import SIGNATURE_FILE, BundleError, BundleFolderError, SignatureError
from liveness_core.bundle.golden import GoldenCases
from liveness_core.bundle.load import Bundle, default_bundle_path, load_bundle, verify_again
from liveness_core.bundle.manifest import (
    AttackScores,
    Calibration,
    Manifest,
    NetworkFile,
    OperatingPoint,
    Parity,
    Provenance,
    ReferenceAttacks,
    ScoreDistribution,
    TemporalHead,
    Variant,
)
from liveness_core.bundle.save import save_bundle
from liveness_core.runtime import TensorSpec

__all__ = [
    "SIGNATURE_FILE",
    "AttackScores",
    "Bundle",
    "BundleError",
    "BundleFolderError",
    "Calibration",
    "GoldenCases",
    "Manifest",
    "NetworkFile",
    "OperatingPoint",
    "Parity",
    "Provenance",
    "ReferenceAttacks",
    "ScoreDistribution",
    "SignatureError",
    "TemporalHead",
    "TensorSpec",
    "Variant",
    "default_bundle_path",
    "load_bundle",
    "save_bundle",
    "verify_again",
]
