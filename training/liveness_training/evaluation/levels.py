"""The three levels of figures: frames, recordings (by the mean of their frames) and clips."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from liveness_training.data.clips import Clip
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import Sample
from liveness_training.evaluation.metrics import Scored

LEVELS = ("frame", "video", "clip")


@dataclass(frozen=True, slots=True)
class Presentation:
    """One frame, recording or clip with its score."""

    name: str
    """Key of the sample, or name of the recording."""
    sample: Sample
    """The sample of its first frame; gives domain, label, species and subject."""
    score: float | None
    """Probability of live, 0 to 1; None where no face was found, a non-response."""


def presentations(
    level: str,
    crops: CropSet,
    rows: Sequence[int],
    missed: Iterable[Sample],
    scores: Mapping[int, float],
    clip_scores: Mapping[Clip, float],
) -> list[Presentation]:
    """The presentations of a level among some rows and missed samples.

    A recording without any face is a non-response at the level of videos. A recording of several frames that gives no
    clip, since too few of them have a face, is a non-response at the level of clips; single pictures are no clips.
    """
    if level == "frame":
        found = [Presentation(crops.samples[row].key, crops.samples[row], scores[row]) for row in rows]
        return found + [Presentation(sample.key, sample, None) for sample in missed]
    recordings: dict[str, list[float]] = defaultdict(list)
    first: dict[str, Sample] = {}
    frames: dict[str, int] = defaultdict(int)
    for row in rows:
        sample = crops.samples[row]
        recordings[sample.recording].append(scores[row])
        first.setdefault(sample.recording, sample)
        frames[sample.recording] += 1
    for sample in missed:
        first.setdefault(sample.recording, sample)
        frames[sample.recording] += 1
    if level == "video":
        return [
            Presentation(name, sample, sum(recordings[name]) / len(recordings[name]) if name in recordings else None)
            for name, sample in first.items()
        ]
    inside = {*rows}
    by_clip = {clip.sample.recording: score for clip, score in clip_scores.items() if inside.issuperset(clip.rows)}
    return [
        Presentation(name, sample, by_clip.get(name))
        for name, sample in first.items()
        if name in by_clip or frames[name] > 1
    ]


def scored(found: Iterable[Presentation]) -> Scored:
    """The presentations that have a score; every person is a cluster."""
    judged = [(presentation.sample, presentation.score) for presentation in found if presentation.score is not None]
    return Scored.of(
        [score for _, score in judged],
        [sample.live for sample, _ in judged],
        [sample.species for sample, _ in judged],
        [f"{sample.domain}/{sample.subject}" for sample, _ in judged],
    )
