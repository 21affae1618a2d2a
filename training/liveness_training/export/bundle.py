"""A run becomes a bundle: networks, precisions, temperature, operating points, golden cases, figures, model card."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from liveness_core.bundle import GoldenCases, Manifest, Provenance, Variant, load_bundle, save_bundle
from liveness_core.bundle.manifest import Precision, ReferenceScores
from liveness_core.quality import MEASURED_GATES
from liveness_core.runtime import RuntimeOptions
from liveness_training.data.crops import CropSet
from liveness_training.data.split_crops import SplitCrops
from liveness_training.evaluation.calibration import DEFAULT_POINT
from liveness_training.evaluation.figures import Report, run_report
from liveness_training.export.golden import golden_cases
from liveness_training.export.held_out import held_out_figures
from liveness_training.export.model_card import model_card
from liveness_training.export.networks import network_file
from liveness_training.export.photo import ExportedPhoto, export_photo
from liveness_training.export.temporal import TEMPORAL, ExportedHead, export_head
from liveness_training.runs.environment import libraries
from liveness_training.runs.folder import RunFolder

CLASSIFIER, GOLDEN = "classifier.onnx", "golden.npz"
"""Names of files of a bundle."""
# Integer sums are exact everywhere, but the float steps between them round differently from processor to processor.
GOLDEN_TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 5e-3, "int8": 2e-2}
UNHASHED = "0" * 64  # `save_bundle` puts the hashes in


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
    """Write the bundle of a run, then load it as the service does.

    Args:
        run: the run.
        crops: the crops that it was trained and reported on.
        folder: folder of the bundle; an existing one is replaced as a whole.
        name: name of the bundle.
        version: version of the bundle.
        precisions: of `fp32`, `fp16` and `int8`; the first is the default and sets the thresholds.
        held_out: runs of the same recipe that kept a domain out; their figures on it go into the bundle.
        licences: domain -> terms under which it was used.
        failures: Markdown for the model card that describes the model's failures.

    Raises:
        ExportError: an exported network differs, the golden cases say nothing, or a held-out run has another recipe.
    """
    data = run.split(crops)
    photo = export_photo(run.network(), data, run.config, precisions)
    head = export_head(run, data, photo.embeddings[precisions[0]])
    files = _files(photo, head, precisions, _golden(photo, head, precisions, data))
    metrics = {
        **_own_figures(photo.scores[precisions[0]], photo, head, data),
        **held_out_figures(run, held_out, clips=head is not None),
    }
    manifest = Manifest(
        name=name,
        version=version,
        preprocess=run.preprocess,
        detector=run.detector,
        quality_gates=MEASURED_GATES,
        variants=tuple(_variant(photo, precision, data) for precision in precisions),
        classifier=network_file(CLASSIFIER, photo.classifier),
        temperature=photo.temperature,
        operating_points=photo.operating_points,
        default_operating_point=DEFAULT_POINT,
        temporal=None if head is None else head.entry,
        reference_scores=ReferenceScores(photo=photo.reference, clip=None if head is None else head.reference),
        files=dict.fromkeys(files, UNHASHED),
        provenance=_provenance(run, data, licences or {}),
        metrics=metrics,
    )
    files["MODEL_CARD.md"] = model_card(manifest, network_sizes(files), failures).encode()
    saved = save_bundle(folder, manifest, files)
    for precision in precisions:
        load_bundle(folder, precision=precision, runtime=RuntimeOptions("cpu"))
    return saved


def _golden(
    photo: ExportedPhoto, head: ExportedHead | None, precisions: Sequence[Precision], data: SplitCrops
) -> GoldenCases:
    scorers = {precision: photo.scorer(precision, data.preprocess) for precision in precisions}
    clip_scorers = {} if head is None else {precision: head.scorer() for precision in scorers}
    return golden_cases(data.preprocess, scorers, clip_scorers)


def _files(
    photo: ExportedPhoto, head: ExportedHead | None, precisions: Sequence[Precision], golden: GoldenCases
) -> dict[str, bytes]:
    """Name -> content of every file beside the manifest and the model card."""
    return {
        **{encoder_name(precision): photo.encoders[precision] for precision in precisions},
        CLASSIFIER: photo.classifier,
        **({} if head is None else {TEMPORAL: head.content}),
        GOLDEN: golden.to_bytes(),
    }


def encoder_name(precision: Precision) -> str:
    """Name of the encoder's file."""
    return "encoder.onnx" if precision == "fp32" else f"encoder.{precision}.onnx"


def network_sizes(files: Mapping[str, bytes]) -> dict[str, int]:
    """Bytes of each network, by its file."""
    return {name: len(content) for name, content in files.items() if name.endswith(".onnx")}


def _variant(photo: ExportedPhoto, precision: Precision, data: SplitCrops) -> Variant:
    return Variant(
        precision=precision,
        encoder=network_file(encoder_name(precision), photo.encoders[precision]),
        parity=photo.parity(precision, data),
        golden_tolerance=GOLDEN_TOLERANCE[precision],
    )


def _own_figures(
    scores: Mapping[int, float], photo: ExportedPhoto, head: ExportedHead | None, data: SplitCrops
) -> Report:
    """The figures of the networks that ship, at the threshold of the default operating point."""
    threshold = photo.operating_points[DEFAULT_POINT].threshold
    clip_scores = None if head is None else head.clip_scores
    return run_report(scores, data.crops, data.protocol, threshold, clip_scores=clip_scores)


def _provenance(run: RunFolder, data: SplitCrops, licences: Mapping[str, str]) -> Provenance:
    settings: dict[str, JsonValue] = run.config.model_dump(mode="json")
    if run.teacher:
        settings["teacher"] = [dict[str, JsonValue](entry) for entry in run.teacher]
    if run.init_run:
        settings["init_run"] = run.init_run
    return Provenance(
        created_at=datetime.now(UTC),
        git_commit=run.git_commit,
        seed=run.config.seed,
        command=" ".join(["liveness-train", *sys.argv[1:]]),
        config=settings,
        libraries=libraries(),
        data=tuple(
            f"{domain}: {licences.get(domain, 'terms not stated')}" for domain in data.domains(data.protocol.train)
        ),
    )
