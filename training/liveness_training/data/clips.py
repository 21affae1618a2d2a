"""The clips of a crop set: which rows are the T frames of a recording."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from liveness_core.clips import ClipSpec
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import Sample

ShortClips = Literal["skip", "stretch"]


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording as the temporal head sees it."""

    rows: tuple[int, ...]
    """T rows of the crop set in the order of time; a short recording has some of them more than once."""
    sample: Sample
    """The sample of its first frame; domain, label, species and subject are those of the recording."""


def clips_of(crops: CropSet, rows: Sequence[int], spec: ClipSpec, short: ShortClips = "skip") -> list[Clip]:
    """The clips among some rows, in the order of their names.

    Frames of a video are in the order of time, pictures of a sequence in the order of the rows.

    Args:
        crops: the crops.
        rows: the rows to make clips of; other rows are ignored.
        spec: how many frames a clip has, T.
        short: what to do with recordings of fewer than T frames. `skip` leaves them out. `stretch` repeats frames, but
            takes the same number K of different frames from every recording of a domain, live or attack, so that
            repetition says nothing about the label. K is the lower of the two labels' median lengths, and at most T.
            Recordings of fewer than K frames are left out, and so are single pictures.
    """
    recordings: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        recordings[crops.samples[row].recording].append(row)
    distinct = _distinct_frames(crops, recordings, spec) if short == "stretch" else {}
    clips = []
    for _, found in sorted(recordings.items()):
        frames = sorted(found, key=lambda row: (crops.samples[row].frame or 0, row))
        sample = crops.samples[frames[0]]
        wanted = distinct.get(sample.domain, spec.frames)
        if wanted < 2 or len(frames) < wanted:
            continue
        taken = [frames[index] for index in ClipSpec(frames=wanted).positions(len(frames))]
        clips.append(Clip(tuple(taken[index] for index in spec.positions(wanted)), sample))
    return clips


def _distinct_frames(crops: CropSet, recordings: dict[str, list[int]], spec: ClipSpec) -> dict[str, int]:
    """Domain -> K, see `clips_of`."""
    lengths: dict[str, dict[bool, list[int]]] = defaultdict(lambda: defaultdict(list))
    for frames in recordings.values():
        sample = crops.samples[frames[0]]
        if len(frames) > 1:
            lengths[sample.domain][sample.live].append(len(frames))
    return {
        domain: min(spec.frames, *(sorted(counts)[len(counts) // 2] for counts in labels.values()))
        for domain, labels in lengths.items()
    }
