"""A run becomes a bundle: networks, precisions, temperature, operating points, golden cases, figures, model card."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from liveness_core.bundle import (
    GoldenCases,
    Manifest,
    Parity,
    Provenance,
    Variant,
    load_bundle,
    save_bundle,
)
from liveness_core.bundle.manifest import Precision
from liveness_core.preprocess import PreprocessSpec
from liveness_core.quality import QualityGates
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.scoring import LIVE, SPOOF, Scorer
from liveness_training.data.batches import service_images
from liveness_training.data.crops import CropSet
from liveness_training.evaluation.calibration import DEFAULT_POINT, fit_temperature, operating_points
from liveness_training.evaluation.metrics import auc
from liveness_training.evaluation.report import Report, run_report, scored_rows
from liveness_training.golden import golden_crops
from liveness_training.model_card import model_card
from liveness_training.onnx_export import ExportError, network_file, to_int8, to_onnx
from liveness_training.protocols import Protocol, make_protocol
from liveness_training.run import libraries
from liveness_training.run_folder import RunFolder

_BATCH = 32
_CALIBRATION_BATCHES = 12
_CLASSIFIER = "classifier.onnx"
# Integer sums are exact everywhere, but the float steps between them round differently from processor to processor.
_GOLDEN_TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 5e-3, "int8": 2e-2}
_FLOAT_CONVOLUTIONS = 6  # MobileNetV2's stem and first two blocks; docs/adr/0004 has the figures
_UNHASHED = "0" * 64  # `save_bundle` puts the hashes in
_TELLING = (0.05, 0.95)


def export_bundle(
    run: RunFolder,
    crops: CropSet,
    folder: Path,
    *,
    name: str,
    version: str,
    precisions: Sequence[Precision],
    held_out: Sequence[RunFolder] = (),
    licences: Mapping[str, str] | None = None,
) -> Manifest:
    """Write a run's bundle, then load it as the service does.

    Args:
        run: the run.
        crops: what it was trained on.
        folder: of the bundle; one that is there is replaced whole.
        name: of the bundle.
        version: of the bundle.
        precisions: `fp32`, `int8` or both; the first is the default and sets the thresholds.
        held_out: runs of the same recipe that kept a domain out; their figures on it go into the bundle.
        licences: domain -> terms under which it was used.

    Raises:
        ExportError: an exported network differs, the golden cases say nothing, or a held-out run has another recipe.
    """
    protocol = make_protocol(crops.samples, crops.missed, run.config.hold_out)
    encoders = _encoders(run, crops, protocol, precisions)
    classifier = _classifier(run, crops, protocol)
    differences = {
        precision: _differences(encoders[precision], classifier, run, crops, protocol) for precision in encoders
    }
    first = precisions[0]
    live_M = np.array([crops.samples[row].live for row in protocol.dev])
    temperature = fit_temperature(np.array([differences[first][row] for row in protocol.dev]), live_M)
    scores = {
        precision: {row: _sigmoid(value / temperature) for row, value in rows.items()}
        for precision, rows in differences.items()
    }
    trained = sorted({crops.samples[row].domain for row in protocol.train})
    points = operating_points(
        scored_rows(scores[first], crops, protocol.dev), f"development people of {', '.join(trained)}"
    )
    golden = _golden({key: encoders[key] for key in precisions}, classifier, run.preprocess, temperature)
    report = run_report(scores[first], crops, protocol, points[DEFAULT_POINT].threshold) | _held_out(run, held_out)
    files = {
        **{_encoder_name(precision): encoders[precision] for precision in precisions},
        _CLASSIFIER: classifier,
        "golden.npz": golden.to_bytes(),
    }
    manifest = Manifest(
        name=name,
        version=version,
        preprocess=run.preprocess,
        detector=run.detector,
        quality_gates=QualityGates(),
        variants=tuple(
            Variant(
                precision=precision,
                encoder=network_file(_encoder_name(precision), encoders[precision]),
                parity=None if precision == "fp32" else _parity(scores["fp32"], scores[precision], crops, protocol),
                golden_tolerance=_GOLDEN_TOLERANCE[precision],
            )
            for precision in precisions
        ),
        classifier=network_file(_CLASSIFIER, classifier),
        temperature=temperature,
        operating_points=points,
        default_operating_point=DEFAULT_POINT,
        files=dict.fromkeys(files, _UNHASHED),
        provenance=Provenance(
            created_at=datetime.now(UTC),
            git_commit=run.git_commit,
            seed=run.config.seed,
            command=" ".join(["liveness-train", *sys.argv[1:]]),
            config=run.config.model_dump(),
            libraries=libraries(),
            data=tuple(f"{domain}: {(licences or {}).get(domain, 'terms not stated')}" for domain in trained),
        ),
        metrics=report,
    )
    files["MODEL_CARD.md"] = model_card(manifest, _network_sizes(files)).encode()
    saved = save_bundle(folder, manifest, files)
    for precision in precisions:
        load_bundle(folder, precision=precision, runtime=RuntimeOptions("cpu"))
    return saved


def _encoder_name(precision: Precision) -> str:
    return "encoder.onnx" if precision == "fp32" else f"encoder.{precision}.onnx"


def _tensor(run: RunFolder, crops: CropSet, rows: Sequence[int]) -> NDArray[np.float32]:
    return run.preprocess.to_tensor(list(service_images(crops, rows)))


def _encoders(
    run: RunFolder, crops: CropSet, protocol: Protocol, precisions: Sequence[Precision]
) -> dict[Precision, bytes]:
    """Content of each precision's file; fp32 is always there, as the reference."""
    random = np.random.default_rng(run.config.seed)
    rows = random.choice(protocol.train, size=_BATCH * _CALIBRATION_BATCHES).tolist()
    batches = [_tensor(run, crops, chunk) for chunk in _chunks(rows)]
    encoders: dict[Precision, bytes] = {
        "fp32": to_onnx(run.network().encoder, torch.from_numpy(batches[0]), "image", ["embedding", "features"])
    }
    if "int8" in precisions:
        encoders["int8"] = to_int8(encoders["fp32"], batches, float_convolutions=_FLOAT_CONVOLUTIONS)
    return encoders


def _classifier(run: RunFolder, crops: CropSet, protocol: Protocol) -> bytes:
    network = run.network()
    with torch.inference_mode():
        embedding, _ = network.encoder(torch.from_numpy(_tensor(run, crops, protocol.train[:8])))
    return to_onnx(network.classifier, embedding.clone(), "embedding", ["logits"])


def _differences(
    encoder: bytes, classifier: bytes, run: RunFolder, crops: CropSet, protocol: Protocol
) -> dict[int, float]:
    """Row -> logit of live minus logit of spoof, by the networks that ship."""
    encode, classify = (OrtSession(content, RuntimeOptions("cpu", 2)) for content in (encoder, classifier))
    found: dict[int, float] = {}
    for rows in _chunks(protocol.evaluated):
        embedding = encode.run({"image": _tensor(run, crops, rows)}, ["embedding"])[0]
        logits = classify.run({"embedding": embedding}, ["logits"])[0].astype(np.float64)
        found.update(zip(rows, (logits[:, LIVE] - logits[:, SPOOF]).tolist(), strict=True))
    return found


def _chunks(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -700, 700))))


def _parity(reference: Mapping[int, float], scores: Mapping[int, float], crops: CropSet, protocol: Protocol) -> Parity:
    rows = protocol.reports["test"].rows
    drift = np.abs(np.array([scores[row] - reference[row] for row in rows]))
    return Parity(
        measured_on="test people",
        images=len(rows),
        mean_score_drift=float(drift.mean()),
        max_score_drift=float(drift.max()),
        auc_fp32=auc(scored_rows(reference, crops, rows)),
        auc=auc(scored_rows(scores, crops, rows)),
    )


def _golden(
    encoders: Mapping[Precision, bytes], classifier: bytes, preprocess: PreprocessSpec, temperature: float
) -> GoldenCases:
    cpu = RuntimeOptions("cpu")
    scorers = {
        precision: Scorer(OrtSession(encoder, cpu), OrtSession(classifier, cpu), preprocess, temperature)
        for precision, encoder in encoders.items()
    }

    def score_by(scorer: Scorer, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.array([result.score for result in scorer.score(list(crops))])

    crops = golden_crops(preprocess, partial(score_by, next(iter(scorers.values()))))
    scores = {precision: score_by(scorer, crops) for precision, scorer in scorers.items()}
    for precision, values in scores.items():
        if not ((values > _TELLING[0]) & (values < _TELLING[1])).any():
            raise ExportError(
                f"every golden score of {precision} is near 0 or 1 ({values.round(3).tolist()}), where a drift would "
                "not show: add changes to golden.py that this model is unsure of"
            )
    return GoldenCases(crops, scores)


def _held_out(run: RunFolder, others: Sequence[RunFolder]) -> Report:
    found: dict[str, dict[str, float]] = {}
    for other in others:
        if other.config.model_copy(update={"hold_out": run.config.hold_out}) != run.config:
            raise ExportError(
                f"{other.path} was trained by another recipe than {run.path}: its figures say nothing here"
            )
        found |= {name: dict(values) for name, values in other.metrics().items() if name.startswith("held_out/")}
    return found


def _network_sizes(files: Mapping[str, bytes]) -> dict[str, int]:
    return {name: len(content) for name, content in files.items() if name.endswith(".onnx")}
