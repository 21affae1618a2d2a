"""The photo scorer's part of a bundle: its networks in each precision, their scores, temperature and parity."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch
from numpy.typing import NDArray

from liveness_core.bundle import OperatingPoint, Parity
from liveness_core.bundle.manifest import LabelledScores, Precision
from liveness_core.preprocess import PreprocessSpec
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.scoring import LIVE, SPOOF, Scorer
from liveness_training.config import TrainConfig
from liveness_training.data.split_crops import SplitCrops
from liveness_training.evaluation.calibration import fit_temperature, operating_points, reference_scores
from liveness_training.evaluation.figures import scored_rows
from liveness_training.evaluation.metrics import auc
from liveness_training.export.networks import CHECKED_ROWS, TOLERANCE, ExportError, to_fp16, to_int8, to_onnx
from liveness_training.models.network import EncoderName, ImageNetwork

# D embedding

_BATCH = 32
_CALIBRATION_BATCHES = 12
# Convolutions that stay in float32. MobileNetV2: the stem and the first three blocks, docs/adr/0004 has the figures.
# EfficientNet-Lite0: as many, as in the default bundle's own member. ResNets: the stem, by analogy and not measured;
# the bundle's parity says what int8 costs.
_FLOAT_CONVOLUTIONS: dict[EncoderName, int] = {
    "mobilenet_v2": 9,
    "efficientnet_lite0": 9,
    "resnet18": 1,
    "resnet34": 1,
    "resnet50": 1,
}


@dataclass(frozen=True, slots=True)
class ExportedPhoto:
    """A photo scorer that is ready for a bundle."""

    encoders: dict[Precision, bytes]
    """Content of the encoder's file in each precision; fp32 is always there, as the reference."""
    classifier: bytes
    """Content of the classifier's file."""
    temperature: float
    """Chosen on development people, with the precision that sets the thresholds."""
    embeddings: dict[Precision, dict[int, NDArray[np.float32]]]
    """Precision -> row -> embedding (D,), by the networks that ship, for `protocol.evaluated`."""
    scores: dict[Precision, dict[int, float]]
    """Precision -> row -> probability of live, for `protocol.evaluated`."""
    operating_points: dict[str, OperatingPoint]
    """Chosen on development people, with the precision that sets the thresholds."""
    reference: LabelledScores
    """Distribution of the scores of development people."""

    def scorer(self, precision: Precision, preprocess: PreprocessSpec) -> Scorer:
        """A scorer of photos on the CPU."""
        cpu = RuntimeOptions("cpu")
        sessions = OrtSession(self.encoders[precision], cpu), OrtSession(self.classifier, cpu)
        return Scorer(*sessions, preprocess, self.temperature)

    def parity(self, precision: Precision, data: SplitCrops) -> Parity | None:
        """How far the scores of a precision are from those of fp32; None for fp32 itself."""
        if precision == "fp32":
            return None
        measured_on, rows = "development people", data.protocol.dev
        test = data.protocol.reports.get("test")  # not there where all people of the sources were trained on
        if test is not None and len(set(data.live(test.rows).tolist())) == 2:
            measured_on, rows = "test people", test.rows
        reference, scores = self.scores["fp32"], self.scores[precision]
        drift = np.abs(np.array([scores[row] - reference[row] for row in rows]))
        return Parity(
            measured_on=measured_on,
            images=len(rows),
            mean_score_drift=float(drift.mean()),
            max_score_drift=float(drift.max()),
            auc_fp32=auc(scored_rows(reference, data.crops, rows)),
            auc=auc(scored_rows(scores, data.crops, rows)),
        )


def export_photo(
    network: ImageNetwork, data: SplitCrops, config: TrainConfig, precisions: Sequence[Precision]
) -> ExportedPhoto:
    """Export encoder and classifier, and score what is reported on with them.

    Args:
        network: the trained network.
        data: the data of its run.
        config: the settings of its run.
        precisions: the precisions to export; the first sets temperature and thresholds.

    Raises:
        ExportError: an exported network differs from the trained one.
    """
    encoders = _encoders(network, data, config, precisions)
    embeddings = {precision: _embeddings(encoder, data) for precision, encoder in encoders.items()}
    classifier = to_onnx(network.classifier, torch.from_numpy(_first_rows(embeddings["fp32"])), "embedding", ["logits"])
    log_odds = {precision: _log_odds(classifier, rows) for precision, rows in embeddings.items()}
    _refuse_other_scores(network, data, log_odds["fp32"])
    first, dev = precisions[0], data.protocol.dev
    temperature = fit_temperature(np.array([log_odds[first][row] for row in dev]), data.live(dev))
    scores = {
        precision: {row: _sigmoid(value / temperature) for row, value in rows.items()}
        for precision, rows in log_odds.items()
    }
    scored = scored_rows(scores[first], data.crops, dev)
    points = operating_points(scored, f"development people of {', '.join(data.domains(dev))}")
    return ExportedPhoto(encoders, classifier, temperature, embeddings, scores, points, reference_scores(scored))


def _encoders(
    network: ImageNetwork, data: SplitCrops, config: TrainConfig, precisions: Sequence[Precision]
) -> dict[Precision, bytes]:
    random = np.random.default_rng(config.seed)
    rows = random.choice(data.protocol.train, size=_BATCH * _CALIBRATION_BATCHES).tolist()
    batches = [data.inputs(chunk) for chunk in _chunks(rows)]
    encoders: dict[Precision, bytes] = {
        "fp32": to_onnx(
            network.encoder,
            torch.from_numpy(batches[0]),
            "image",
            ["embedding", "features"],
            relative_outputs=["embedding", "features"],  # scores are held to the limit itself, below
        )
    }
    if "int8" in precisions:
        encoders["int8"] = to_int8(encoders["fp32"], batches, float_convolutions=_FLOAT_CONVOLUTIONS[config.encoder])
    if "fp16" in precisions:
        encoders["fp16"] = to_fp16(encoders["fp32"])
    return encoders


def _embeddings(encoder: bytes, data: SplitCrops) -> dict[int, NDArray[np.float32]]:
    """Row -> embedding (D,)."""
    encode = OrtSession(encoder, RuntimeOptions("cpu", 2))
    found: dict[int, NDArray[np.float32]] = {}
    for rows in _chunks(data.protocol.evaluated):
        found.update(zip(rows, encode.run({"image": data.inputs(rows)}, ["embedding"])[0], strict=True))
    return found


def _first_rows(embeddings: Mapping[int, NDArray[np.float32]]) -> NDArray[np.float32]:
    """As many embeddings as an export is checked on, repeated where there are fewer: shape (CHECKED_ROWS, D)."""
    return np.stack(list(islice(cycle(embeddings.values()), CHECKED_ROWS)))


def _log_odds(classifier: bytes, embeddings: Mapping[int, NDArray[np.float32]]) -> dict[int, float]:
    """Row -> logit of live minus logit of spoof."""
    classify = OrtSession(classifier, RuntimeOptions("cpu", 2))
    logits = classify.run({"embedding": np.stack(list(embeddings.values()))}, ["logits"])[0].astype(np.float64)
    return dict(zip(embeddings, (logits[:, LIVE] - logits[:, SPOOF]).tolist(), strict=True))


def _chunks(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]


def _refuse_other_scores(network: ImageNetwork, data: SplitCrops, log_odds: Mapping[int, float]) -> None:
    """Compare the scores of the exported networks, taken together, with those of the trained ones on a few crops."""
    rows = list(log_odds)[:CHECKED_ROWS]
    with torch.inference_mode():
        logits = network(torch.from_numpy(data.inputs(rows))).double().numpy()
    for row, pair in zip(rows, logits, strict=True):
        drift = abs(_sigmoid(float(pair[LIVE] - pair[SPOOF])) - _sigmoid(log_odds[row]))
        if not drift <= TOLERANCE:
            raise ExportError(f"a score differs from torch by {drift:.2e}, allowed are {TOLERANCE:.0e}")


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -700, 700))))
