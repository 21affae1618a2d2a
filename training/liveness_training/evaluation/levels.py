"""The three levels that figures are given for: frames, recordings by the mean of their frames, clips."""

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
    """One thing that is judged: a frame, a recording or a clip."""

    name: str
    """Key of the sample, or name of the recording."""
    sample: Sample
    """Its first frame: domain, label, species, subject."""
    score: float | None
    """None where no face was found: a non-response."""


def presentations(
    level: str,
    crops: CropSet,
    rows: Sequence[int],
    missed: Iterable[Sample],
    scores: Mapping[int, float],
    clip_scores: Mapping[Clip, float],
) -> list[Presentation]:
    """Those of a level among some rows and missed samples.

    A recording without any face is a non-response as a video. One of several frames that gives no clip, since too few
    of them have a face, is one as a clip; single pictures are no clips at all.
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
    """Those that have a score, in clusters of one person each."""
    judged = [(each, each.score) for each in found if each.score is not None]
    return Scored.of(
        [score for _, score in judged],
        [each.sample.live for each, _ in judged],
        [each.sample.species for each, _ in judged],
        [f"{each.sample.domain}/{each.sample.subject}" for each, _ in judged],
    )
