"""The work of `prepare`: read pictures and videos, find the face, cut its crops."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.alignment import align
from liveness_core.clips import ClipSpec
from liveness_core.clips import sample as sample_clip
from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.detection.tracking import FaceTracker
from liveness_core.preprocess import PreprocessSpec
from liveness_core.types import DetectedFace, Picture
from liveness_core.video import VideoError, VideoFrame, VideoReader
from liveness_training.data.samples import DataError, Sample

# M faces found, V views of each, S crop size

_VIEW_MARGINS = (1.1, 3.3)
_REPEATED = np.empty(0, np.uint8)
"""Stands for a frame that only repeats the one before, since its video has fewer than T frames."""


class UnreadableError(DataError):
    """A picture or video exists but cannot be decoded; the message names the file."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How crops are cut."""

    root: Path
    """Folder that the samples' paths are relative to."""
    preprocess: PreprocessSpec
    """Margin and size of view 0; crops do not depend on the rest of it."""
    detector: DetectorSpec
    clip: ClipSpec
    """The frames of a video to take."""
    views: int
    """Crops of each face."""


@dataclass(frozen=True, slots=True)
class CutChunk:
    """The crops of some samples, and which samples have none."""

    found: tuple[bool | None, ...]
    """For each sample whether a face was found; None for a frame that its video is too short for."""
    crops_MVSS3: NDArray[np.uint8]
    """The crops of the faces that were found."""
    unreadable: tuple[str, ...]
    """Paths of files that could not be decoded, in the order of the samples; no face was found in them."""


def expand(samples: Sequence[Sample], clip: ClipSpec) -> list[Sample]:
    """The samples, with every video replaced by T samples, one for each frame that is taken."""
    return [frame for sample in samples for frame in _frames(sample, clip)]


def _frames(sample: Sample, clip: ClipSpec) -> list[Sample]:
    if not sample.is_video or sample.frame is not None:
        return [sample]
    return [replace(sample, sequence=sample.sequence or sample.path, frame=frame) for frame in range(clip.frames)]


def chunks(samples: Sequence[Sample], least: int) -> Iterator[list[Sample]]:
    """The samples in chunks of `least` or a few more, in order; no video is divided, so that it is decoded once."""
    chunk: list[Sample] = []
    for _, frames in itertools.groupby(samples, key=lambda sample: sample.path):
        chunk.extend(frames)
        if len(chunk) >= least:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


_T = TypeVar("_T")


class FaceFinder(Generic[_T]):
    """Finds the faces of pictures and of frames of videos, as the service does, and takes of each what is wanted."""

    def __init__(
        self, root: Path, detector: DetectorSpec, clip: ClipSpec, take: Callable[[Sample, Picture, DetectedFace], _T]
    ) -> None:
        """Load the detector.

        Args:
            root: folder that the samples' paths are relative to.
            detector: the detector and its settings.
            clip: the frames of a video to look at.
            take: called with each sample, its picture and the largest face in it.
        """
        self._root, self._clip, self._take = root, clip, take
        self._detector = create_detector(detector)

    def of_picture(self, sample: Sample) -> _T | None:
        """What is taken of a picture; None where there is no face.

        Raises:
            DataError: see `read_picture`.
        """
        picture = read_picture(self._root / sample.path)
        faces = self._detector.detect(picture)
        return self._take(sample, picture, faces[0]) if faces else None

    def of_video(self, sample: Sample) -> tuple[list[_T | None], list[bool]]:
        """For each of the T frames what is taken of it, None where there is no face; and whether it only repeats the
        frame before, since the video has fewer than T.

        Raises:
            UnreadableError: it cannot be read as a video.
            DataError: it cannot be opened.
        """
        tracker = FaceTracker(self._detector)

        def look(frame: VideoFrame) -> _T | None:
            faces = tracker.find(frame.pixels, frame.position)
            return self._take(sample, frame.pixels, faces[0]) if faces else None

        path = self._root / sample.path
        try:
            with path.open("rb") as file:
                video = VideoReader(file, turn_deg=sample.turn_deg)
                taken = sample_clip(video, self._clip, look)
        except OSError as error:
            raise DataError(f"{path} cannot be opened: {error.strerror}") from error
        except VideoError as error:
            raise UnreadableError(f"{path} cannot be read as a video: {error}") from error
        middles = self._clip.positions(video.frames)
        again = [False, *(middle == before for before, middle in itertools.pairwise(middles))]
        return [None if frame is None else frame.value for frame in taken], again


class Cutter:
    """Cuts crops; every worker has its own."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._finder = FaceFinder(recipe.root, recipe.detector, recipe.clip, self._cut)

    def __call__(self, samples: Sequence[Sample]) -> CutChunk:
        """Cut the crops of some samples, which must hold all frames of a video or none.

        Raises:
            DataError: a file is missing or may not be read.
        """
        found: list[bool | None] = []
        crops: list[NDArray[np.uint8]] = []
        unreadable: list[str] = []
        for path, group in itertools.groupby(samples, key=lambda sample: sample.path):
            frames = list(group)
            try:
                cut = self._cut_video(frames[0]) if frames[0].is_video else [self._finder.of_picture(frames[0])]
            except UnreadableError:
                unreadable.append(path)
                found.extend([False] * len(frames))
                continue
            for crops_VSS3 in cut:
                found.append(None if crops_VSS3 is _REPEATED else crops_VSS3 is not None)
                if crops_VSS3 is not None and crops_VSS3 is not _REPEATED:
                    crops.append(crops_VSS3)
        size = self._recipe.preprocess.size
        shape = (len(crops), self._recipe.views, size, size, 3)
        return CutChunk(tuple(found), np.array(crops, np.uint8).reshape(shape), tuple(unreadable))

    def _cut_video(self, sample: Sample) -> list[NDArray[np.uint8] | None]:
        """For each of the T frames its crops, None where there is no face, or `_REPEATED`."""
        taken, again = self._finder.of_video(sample)
        return [_REPEATED if is_again else frame for frame, is_again in zip(taken, again, strict=True)]

    def _cut(self, sample: Sample, picture: Picture, face: DetectedFace) -> NDArray[np.uint8]:
        """Shape (V, S, S, 3)."""
        # Seeded by the name of the recording: every process cuts the same crops, and the face does not jump in size
        # from one frame of a clip to the next.
        name = sample.sequence or sample.path
        random = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
        preprocess = self._recipe.preprocess
        margins = [preprocess.margin, *random.uniform(*_VIEW_MARGINS, size=self._recipe.views - 1)]
        return np.stack([align(picture, face, margin=margin, size=preprocess.size).pixels for margin in margins])


def read_picture(path: Path) -> Picture:
    """An upright RGB picture from a file.

    Raises:
        DataError: there is no such file, or it may not be read.
        UnreadableError: it is not a picture.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        bgr = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None  # applies the EXIF orientation
    except cv2.error as error:  # more pixels than OpenCV takes
        raise UnreadableError(f"{path} cannot be read as a picture: {error.err}") from error
    if bgr is None:
        raise UnreadableError(f"{path} cannot be read as a picture")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
