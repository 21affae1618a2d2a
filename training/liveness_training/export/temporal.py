"""The temporal head's part of a bundle: network, temperature, operating points, and the scores of the run's clips."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch
from numpy.typing import NDArray

from liveness_core.bundle import TemporalHead
from liveness_core.bundle.manifest import LabelledScores
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.scoring import LIVE, SPOOF, ClipScorer, live_probability
from liveness_training.data.clips import Clip
from liveness_training.data.split_crops import SplitCrops
from liveness_training.evaluation.calibration import fit_temperature, operating_points, reference_scores
from liveness_training.evaluation.metrics import Scored
from liveness_training.export.networks import CHECKED_ROWS, network_file, to_onnx
from liveness_training.runs.folder import RunFolder

# B clips, T frames of a clip, D embedding

TEMPORAL = "temporal.onnx"
_BATCH = 256
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportedHead:
    """A temporal head that is ready for a bundle."""

    content: bytes
    """Content of `temporal.onnx`."""
    entry: TemporalHead
    """Its entry in the manifest."""
    reference: LabelledScores
    """Distribution of the scores of clips of development people."""
    clip_scores: dict[Clip, float]
    """Scores of the clips of development people and of those that are reported on."""

    def scorer(self) -> ClipScorer:
        """The exported head, ready to score clips from the embeddings of their frames."""
        return ClipScorer(OrtSession(self.content, RuntimeOptions("cpu")), self.entry.clip, self.entry.temperature)


def export_head(run: RunFolder, data: SplitCrops, embeddings: Mapping[int, NDArray[np.float32]]) -> ExportedHead | None:
    """Export the temporal head of a run; None where it has none, or where no threshold could be chosen honestly.

    Args:
        run: the run.
        data: its data.
        embeddings: row -> embedding (D,) by the encoder that ships, for `protocol.evaluated`.

    Raises:
        ExportError: the exported network differs.
    """
    head = run.temporal()
    if head is None:
        return None
    dev = run.clips(data.crops, data.protocol.dev)
    if len({clip.sample.live for clip in dev}) < 2:
        _log.warning(
            "%s: the temporal head is left out of the bundle: development people have no clips of both labels to "
            "choose a threshold on; add recordings, or train with short_clips=stretch",
            run.path,
        )
        return None
    # Part by part, so that no clip has frames of two parts.
    reported = [clip for part in data.protocol.reports.values() for clip in run.clips(data.crops, part.rows)]
    clips = list(dict.fromkeys([*dev, *reported]))
    some = list(islice(cycle(clips), CHECKED_ROWS))
    content = to_onnx(head, torch.from_numpy(_stacked(embeddings, some)), "embeddings", ["logits"])
    session = OrtSession(content, RuntimeOptions("cpu", 2))
    logits = {
        clip: row
        for batch in _batches(clips)
        for clip, row in zip(
            batch, session.run({"embeddings": _stacked(embeddings, batch)}, ["logits"])[0], strict=True
        )
    }
    dev_live = [clip.sample.live for clip in dev]
    temperature = fit_temperature(
        np.array([float(logits[clip][LIVE]) - float(logits[clip][SPOOF]) for clip in dev]), np.array(dev_live)
    )
    values = live_probability(np.stack([logits[clip] for clip in clips]), temperature)
    scores = dict(zip(clips, values.tolist(), strict=True))
    domains = ", ".join(sorted({clip.sample.domain for clip in dev}))
    scored = Scored.of([scores[clip] for clip in dev], dev_live, [clip.sample.species for clip in dev])
    points = operating_points(
        scored,
        f"{len(dev)} clips of development people of {domains}",
    )
    entry = TemporalHead(
        network=network_file(TEMPORAL, content), clip=run.clip, temperature=temperature, operating_points=points
    )
    return ExportedHead(content, entry, reference_scores(scored), scores)


def _stacked(embeddings: Mapping[int, NDArray[np.float32]], clips: Sequence[Clip]) -> NDArray[np.float32]:
    """The embeddings of the frames of some clips, shape (B, T, D)."""
    return np.stack([np.stack([embeddings[row] for row in clip.rows]) for clip in clips])


def _batches(clips: Sequence[Clip]) -> Iterator[Sequence[Clip]]:
    for start in range(0, len(clips), _BATCH):
        yield clips[start : start + _BATCH]
