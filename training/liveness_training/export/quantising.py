"""A committee in its precisions. In int8 are the members whose own drift is small enough; others stay as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liveness_core.bundle import Parity
from liveness_core.bundle.manifest import Precision
from liveness_core.clips import ClipSpec
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.scoring import Scorer
from liveness_core.types import FaceCrops
from liveness_core.views import View, tensors
from liveness_training.data.samples import DataError, Sample, Split, read_index
from liveness_training.data.viewed import ViewedFace, drawn_evenly, viewed_faces
from liveness_training.evaluation.metrics import Scored, auc
from liveness_training.export.committee_spec import CommitteeSpec
from liveness_training.export.members import Member
from liveness_training.export.merging import Merged, merge

# N faces, M members

_BATCH = 16


@dataclass(frozen=True, slots=True)
class Built:
    """A committee in one precision."""

    merged: Merged
    scorer: Scorer
    parity: Parity | None
    """How far its scores are from those of fp32; None for fp32 itself."""
    drifts: Mapping[str, float]
    """The members that were tried in int8, by name: mean difference of their own probability of live."""
    in_int8: frozenset[str]
    """Names of those that were kept in int8."""


def build(spec: CommitteeSpec, members: Sequence[Member]) -> dict[Precision, Built]:
    """The committee in each precision that its specification names.

    Args:
        spec: precisions, and the pictures to measure with.
        members: as they were trained.

    Raises:
        SpecError: the members do not fit together.
        DataError: there are no pictures to measure with.
    """
    fp32 = merge([member.in_float() for member in members], spec.offset)
    reference = _scorer(fp32, spec)
    faces = _faces(spec, fp32.views, "test", spec.measure.pictures)
    if len({face.sample.live for face in faces}) < 2:
        raise DataError(f"{spec.measure.data}: no faces of both labels among the pictures of test people")
    scores_N = _scores(reference, faces)
    built: dict[Precision, Built] = {}
    for precision in spec.precisions:
        if precision == "fp32":
            built[precision] = Built(fp32, reference, None, {}, frozenset())
            continue
        drifts, kept = dict[str, float](), frozenset[str]()
        if precision == "fp16":
            made = [member.in_fp16() for member in members]
        else:
            made, drifts, kept = _in_int8(spec, members, fp32, reference, faces)
        merged = merge(made, spec.offset)
        scorer = _scorer(merged, spec)
        parity = _parity(scores_N, _scores(scorer, faces), faces)
        built[precision] = Built(merged, scorer, parity, drifts, kept)
    return built


def _in_int8(
    spec: CommitteeSpec, members: Sequence[Member], fp32: Merged, reference: Scorer, faces: Sequence[ViewedFace]
) -> tuple[list[Member], dict[str, float], frozenset[str]]:
    """The members, those in int8 that bear it, how far each one that was tried drifts, and the names of those in int8.

    The others compute in float32; their weights may be stored as float16.
    """
    of_training = _faces(spec, fp32.views, "train", spec.measure.calibrate)
    if not of_training:
        raise DataError(f"{spec.measure.data}: no face in the pictures of training people")
    inputs = [tensors(fp32.views, crops) for crops in _batches(of_training)]
    tried = [
        member.in_int8([batch[name] for batch in inputs]) for member, name in zip(members, fp32.inputs, strict=True)
    ]
    scorer = _scorer(merge(tried, spec.offset), spec)
    drift_NM = _live(scorer, faces, len(members)) - _live(reference, faces, len(members))
    made, drifts, kept = [], {}, set()
    for member, other, drift_N in zip(members, tried, drift_NM.T, strict=True):
        if other is not member:
            drift = drifts[member.spec.name] = float(np.abs(drift_N).mean())
            if member.spec.int8 == "always" or drift <= spec.measure.most_drift:
                kept.add(member.spec.name)
                made.append(other)
                continue
        made.append(member.in_float(stored_in_half=spec.weights_in_half))
    return made, drifts, frozenset(kept)


def _faces(spec: CommitteeSpec, views: Sequence[View], split: Split, count: int) -> list[ViewedFace]:
    root = Path(spec.measure.data)
    samples: list[Sample] = drawn_evenly(read_index(root), split, count, spec.seed)
    return list(viewed_faces(root, samples, views, spec.detector, ClipSpec()))


def _batches(faces: Sequence[ViewedFace]) -> list[list[FaceCrops]]:
    return [[face.crops for face in faces[start : start + _BATCH]] for start in range(0, len(faces), _BATCH)]


def _scorer(merged: Merged, spec: CommitteeSpec) -> Scorer:
    cpu = RuntimeOptions("cpu")
    return Scorer(OrtSession(merged.encoder, cpu), OrtSession(merged.classifier, cpu), merged.views, spec.temperature)


def _scores(scorer: Scorer, faces: Sequence[ViewedFace]) -> NDArray[np.float64]:
    return np.array([result.score for crops in _batches(faces) for result in scorer.score(crops)])


def _live(scorer: Scorer, faces: Sequence[ViewedFace], members: int) -> NDArray[np.float64]:
    """Each member's own probability of live."""
    log_odds_NM = np.concatenate([scorer.embed(crops)[:, :members] for crops in _batches(faces)]).astype(np.float64)
    return 1 / (1 + np.exp(-np.clip(log_odds_NM, -700, 700)))


def _parity(fp32_N: NDArray[np.float64], scores_N: NDArray[np.float64], faces: Sequence[ViewedFace]) -> Parity:
    drift_N = np.abs(scores_N - fp32_N)
    live, species = [face.sample.live for face in faces], [face.sample.species for face in faces]
    return Parity(
        measured_on="pictures of test people",
        images=len(faces),
        mean_score_drift=float(drift_N.mean()),
        max_score_drift=float(drift_N.max()),
        auc_fp32=auc(Scored.of(fp32_N, live, species)),
        auc=auc(Scored.of(scores_N, live, species)),
    )
