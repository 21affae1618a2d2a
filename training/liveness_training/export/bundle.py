"""A run becomes a bundle: networks, precisions, temperature, operating points, golden cases, figures, model card."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import cycle, islice
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
from liveness_core.bundle.reference import ReferenceScores
from liveness_core.preprocess import PreprocessSpec
from liveness_core.quality import QualityGates
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.scoring import LIVE, SPOOF, Scorer
from liveness_training.config import TrainConfig
from liveness_training.data.batches import service_images
from liveness_training.data.crops import CropSet
from liveness_training.data.protocols import Protocol
from liveness_training.evaluation.calibration import DEFAULT_POINT, fit_temperature, operating_points, reference_scores
from liveness_training.evaluation.figures import Report, run_report, scored_rows
from liveness_training.evaluation.metrics import auc
from liveness_training.export.golden import golden_cases
from liveness_training.export.model_card import model_card
from liveness_training.export.networks import (
    CHECKED_ROWS,
    TOLERANCE,
    ExportError,
    network_file,
    to_fp16,
    to_int8,
    to_onnx,
)
from liveness_training.export.temporal import TEMPORAL, ExportedHead, export_head
from liveness_training.models.network import EncoderName, ImageNetwork
from liveness_training.runs.environment import libraries
from liveness_training.runs.folder import RunFolder

_BATCH = 32
_CALIBRATION_BATCHES = 12
_CLASSIFIER = "classifier.onnx"
# Integer sums are exact everywhere, but the float steps between them round differently from processor to processor.
_GOLDEN_TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 5e-3, "int8": 2e-2}
# Convolutions that stay in float32. MobileNetV2: the stem and the first three blocks, docs/adr/0004 has the figures.
# ResNets: the stem, by analogy and not measured; the bundle's parity says what int8 costs.
_FLOAT_CONVOLUTIONS: dict[EncoderName, int] = {"mobilenet_v2": 9, "resnet18": 1, "resnet34": 1, "resnet50": 1}
# In these a run may differ from those that measure it on unseen domains: the domain, and how training is carried out.
_NOT_THE_RECIPE = {"hold_out", "device", "workers", "compile", "checkpoint_every"}
_UNHASHED = "0" * 64  # `save_bundle` puts the hashes in


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
    failures: str = "",
) -> Manifest:
    """Write a run's bundle, then load it as the service does.

    Args:
        run: the run.
        crops: what it was trained on.
        folder: of the bundle; one that is there is replaced whole.
        name: of the bundle.
        version: of the bundle.
        precisions: of `fp32`, `fp16` and `int8`; the first is the default and sets the thresholds.
        held_out: runs of the same recipe that kept a domain out; their figures on it go into the bundle.
        licences: domain -> terms under which it was used.
        failures: what its failures look like, in Markdown, for the model card.

    Raises:
        ExportError: an exported network differs, the golden cases say nothing, or a held-out run has another recipe.
    """
    protocol = run.protocol(crops)
    network = run.network()
    encoders = _encoders(run, network, crops, protocol, precisions)
    embeddings = {precision: _embeddings(encoders[precision], run, crops, protocol) for precision in encoders}
    classifier = to_onnx(network.classifier, torch.from_numpy(_first_rows(embeddings["fp32"])), "embedding", ["logits"])
    differences = {precision: _differences(classifier, rows) for precision, rows in embeddings.items()}
    _refuse_other_scores(network, run, crops, differences["fp32"])
    first = precisions[0]
    live_M = np.array([crops.samples[row].live for row in protocol.dev])
    temperature = fit_temperature(np.array([differences[first][row] for row in protocol.dev]), live_M)
    scores = {
        precision: {row: _sigmoid(value / temperature) for row, value in rows.items()}
        for precision, rows in differences.items()
    }
    trained = sorted({crops.samples[row].domain for row in protocol.train})
    chosen_on = sorted({crops.samples[row].domain for row in protocol.dev})
    dev = scored_rows(scores[first], crops, protocol.dev)
    points = operating_points(dev, f"development people of {', '.join(chosen_on)}")
    head = export_head(run, crops, protocol, embeddings[first])
    golden = _golden({key: encoders[key] for key in precisions}, classifier, run.preprocess, temperature, head)
    figures = run_report(
        scores[first],
        crops,
        protocol,
        points[DEFAULT_POINT].threshold,
        clip_scores=None if head is None else head.clip_scores,
    )
    files = {
        **{_encoder_name(precision): encoders[precision] for precision in precisions},
        _CLASSIFIER: classifier,
        **({} if head is None else {TEMPORAL: head.content}),
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
        temporal=None if head is None else head.entry,
        reference_scores=ReferenceScores(photo=reference_scores(dev), clip=None if head is None else head.reference),
        files=dict.fromkeys(files, _UNHASHED),
        provenance=Provenance(
            created_at=datetime.now(UTC),
            git_commit=run.git_commit,
            seed=run.config.seed,
            command=" ".join(["liveness-train", *sys.argv[1:]]),
            config={
                **run.config.model_dump(mode="json"),
                **({"teacher": list(run.teacher)} if run.teacher else {}),
                **({"init_run": run.init_run} if run.init_run else {}),
            },
            libraries=libraries(),
            data=tuple(f"{domain}: {(licences or {}).get(domain, 'terms not stated')}" for domain in trained),
        ),
        metrics={**figures, **_held_out(run, held_out, clips=head is not None)},
    )
    files["MODEL_CARD.md"] = model_card(manifest, _network_sizes(files), failures).encode()
    saved = save_bundle(folder, manifest, files)
    for precision in precisions:
        load_bundle(folder, precision=precision, runtime=RuntimeOptions("cpu"))
    return saved


def _encoder_name(precision: Precision) -> str:
    return "encoder.onnx" if precision == "fp32" else f"encoder.{precision}.onnx"


def _tensor(run: RunFolder, crops: CropSet, rows: Sequence[int]) -> NDArray[np.float32]:
    return run.preprocess.to_tensor(list(service_images(crops, rows)))


def _encoders(
    run: RunFolder, network: ImageNetwork, crops: CropSet, protocol: Protocol, precisions: Sequence[Precision]
) -> dict[Precision, bytes]:
    """Content of each precision's file; fp32 is always there, as the reference."""
    random = np.random.default_rng(run.config.seed)
    rows = random.choice(protocol.train, size=_BATCH * _CALIBRATION_BATCHES).tolist()
    batches = [_tensor(run, crops, chunk) for chunk in _chunks(rows)]
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
        encoders["int8"] = to_int8(
            encoders["fp32"], batches, float_convolutions=_FLOAT_CONVOLUTIONS[run.config.encoder]
        )
    if "fp16" in precisions:
        encoders["fp16"] = to_fp16(encoders["fp32"])
    return encoders


def _embeddings(encoder: bytes, run: RunFolder, crops: CropSet, protocol: Protocol) -> dict[int, NDArray[np.float32]]:
    """Row -> embedding (D,), by the network that ships."""
    encode = OrtSession(encoder, RuntimeOptions("cpu", 2))
    found: dict[int, NDArray[np.float32]] = {}
    for rows in _chunks(protocol.evaluated):
        found.update(zip(rows, encode.run({"image": _tensor(run, crops, rows)}, ["embedding"])[0], strict=True))
    return found


def _first_rows(embeddings: Mapping[int, NDArray[np.float32]]) -> NDArray[np.float32]:
    """As many as an export is checked on, repeated where there are fewer: shape (CHECKED_ROWS, D)."""
    return np.stack(list(islice(cycle(embeddings.values()), CHECKED_ROWS)))


def _differences(classifier: bytes, embeddings: Mapping[int, NDArray[np.float32]]) -> dict[int, float]:
    """Row -> logit of live minus logit of spoof, by the networks that ship."""
    classify = OrtSession(classifier, RuntimeOptions("cpu", 2))
    logits = classify.run({"embedding": np.stack(list(embeddings.values()))}, ["logits"])[0].astype(np.float64)
    return dict(zip(embeddings, (logits[:, LIVE] - logits[:, SPOOF]).tolist(), strict=True))


def _chunks(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]


def _refuse_other_scores(
    network: ImageNetwork, run: RunFolder, crops: CropSet, differences: Mapping[int, float]
) -> None:
    """Hold what the exported networks score together against what the trained ones do, on a few crops."""
    rows = list(differences)[:CHECKED_ROWS]
    with torch.inference_mode():
        logits = network(torch.from_numpy(_tensor(run, crops, rows))).double().numpy()
    for row, pair in zip(rows, logits, strict=True):
        drift = abs(_sigmoid(float(pair[LIVE] - pair[SPOOF])) - _sigmoid(differences[row]))
        if not drift <= TOLERANCE:
            raise ExportError(f"a score differs from torch by {drift:.2e}, allowed are {TOLERANCE:.0e}")


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -700, 700))))


def _parity(reference: Mapping[int, float], scores: Mapping[int, float], crops: CropSet, protocol: Protocol) -> Parity:
    measured_on, rows = "development people", protocol.dev
    test = protocol.reports.get("test")  # not there where all people of the sources were trained on
    if test is not None and len({crops.samples[row].live for row in test.rows}) == 2:
        measured_on, rows = "test people", test.rows
    drift = np.abs(np.array([scores[row] - reference[row] for row in rows]))
    return Parity(
        measured_on=measured_on,
        images=len(rows),
        mean_score_drift=float(drift.mean()),
        max_score_drift=float(drift.max()),
        auc_fp32=auc(scored_rows(reference, crops, rows)),
        auc=auc(scored_rows(scores, crops, rows)),
    )


def _golden(
    encoders: Mapping[Precision, bytes],
    classifier: bytes,
    preprocess: PreprocessSpec,
    temperature: float,
    head: ExportedHead | None,
) -> GoldenCases:
    cpu = RuntimeOptions("cpu")
    scorers = {
        precision: Scorer(OrtSession(encoder, cpu), OrtSession(classifier, cpu), preprocess, temperature)
        for precision, encoder in encoders.items()
    }
    clip_scorers = {} if head is None else {precision: head.scorer(scorer) for precision, scorer in scorers.items()}
    return golden_cases(preprocess, scorers, clip_scorers)


def _held_out(run: RunFolder, others: Sequence[RunFolder], *, clips: bool) -> Report:
    """Figures of runs that kept a domain out; those of clips only where the bundle scores clips."""
    found: dict[str, dict[str, float]] = {}
    for other in others:
        ours, theirs = (each.config.model_dump(exclude=_NOT_THE_RECIPE) for each in (_recipe(run, other), other))
        # A shorter run may stand for a longer one, and the figures say so; a longer one would promise too much.
        shorter = theirs["steps"] < ours["steps"]
        differing = [name for name in ours if ours[name] != theirs[name] and not (name == "steps" and shorter)]
        differing += ["preprocessing"] if run.preprocess != other.preprocess else []
        if differing:
            raise ExportError(
                f"{other.path} was trained by another recipe than {run.path} ({', '.join(differing)}): "
                "its figures say nothing here"
            )
        for name, values in other.metrics().items():
            if name.startswith("held_out/") and (clips or not name.endswith("@clip")):
                found[name] = dict(values) | ({"steps": float(theirs["steps"])} if shorter else {})
    return found


def _recipe(run: RunFolder, other: RunFolder) -> RunFolder:
    """The run whose recipe a held-out run must have.

    A run on a frozen encoder scores photos as the run did that it started from: where the held-out run has no frozen
    encoder itself, it is held against that earlier one.
    """
    if not run.config.frozen or other.config.frozen or run.init_run is None:
        return run
    return replace(run, config=TrainConfig.model_validate(run.init_run["config"]))


def _network_sizes(files: Mapping[str, bytes]) -> dict[str, int]:
    return {name: len(content) for name, content in files.items() if name.endswith(".onnx")}
