"""Clips out of a crop set: which rows make the T frames of a recording."""

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
    """T rows of the crop set, in the order of time; some more than once where the recording is short."""
    sample: Sample
    """Its first frame: domain, label, species and subject are those of the recording."""


def clips_of(crops: CropSet, rows: Sequence[int], spec: ClipSpec, short: ShortClips = "skip") -> list[Clip]:
    """The clips among some rows, in the order of their names.

    Frames of a video are in the order of their place, pictures of a sequence in the order of the rows.

    Args:
        crops: the crops.
        rows: those to look at; a recording is taken from these alone.
        spec: how many frames a clip has.
        short: what becomes of recordings of fewer than T frames. `skip` leaves them out. `stretch` repeats frames, but
            takes equally many different ones, K, from every recording of a domain, live or attack, so that repetition
            says nothing about the label: K is T, or the median length of that label's recordings whose median is
            lower. Recordings of fewer than K frames are left out, and so are single pictures.
    """
    recordings: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        recordings[crops.samples[row].recording].append(row)
    distinct = _distinct_frames(crops, recordings, spec) if short == "stretch" else {}
    clips = []
    for _, found in sorted(recordings.items()):
        frames = sorted(found, key=lambda row: (crops.samples[row].place or 0, row))
        sample = crops.samples[frames[0]]
        wanted = distinct.get(sample.domain, spec.frames)
        if wanted < 2 or len(frames) < wanted:
            continue
        taken = [frames[place] for place in ClipSpec(frames=wanted).positions(len(frames))]
        clips.append(Clip(tuple(taken[place] for place in spec.positions(wanted)), sample))
    return clips


def _distinct_frames(crops: CropSet, recordings: dict[str, list[int]], spec: ClipSpec) -> dict[str, int]:
    """Domain -> K."""
    lengths: dict[str, dict[bool, list[int]]] = defaultdict(lambda: defaultdict(list))
    for frames in recordings.values():
        sample = crops.samples[frames[0]]
        if len(frames) > 1:
            lengths[sample.domain][sample.live].append(len(frames))
    return {
        domain: min(spec.frames, *(sorted(each)[len(each) // 2] for each in labels.values()))
        for domain, labels in lengths.items()
    }
