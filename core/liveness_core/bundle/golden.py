"""Golden cases: crops with known scores, by which a bundle proves on any machine that it still gives those scores."""

import io
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# K cases, S crop size, J clips, T frames of a clip

_SCORES, _CLIP_SCORES = "scores_", "clip_scores_"


@dataclass(frozen=True, slots=True)
class GoldenCases:
    """A few crops, and clips made of them, with the scores that each variant gave them when the bundle was made."""

    crops_KSS3: NDArray[np.uint8]
    """Crops as `PreprocessSpec.to_tensor` takes them. None is from a data set, since bundles are handed on."""
    scores_K: dict[str, NDArray[np.float64]]
    """Scores of the crops, by precision."""
    clips_JT: NDArray[np.int64] | None = None
    """Row numbers of the crops that are the frames of each clip; None if the bundle has no temporal head."""
    clip_scores_J: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Scores of the clips, by precision."""

    def to_bytes(self) -> bytes:
        """The content of `golden.npz` that holds these cases."""
        buffer = io.BytesIO()
        arrays: dict[str, NDArray[np.generic]] = {"crops": self.crops_KSS3}
        arrays |= {_SCORES + precision: values for precision, values in self.scores_K.items()}
        if self.clips_JT is not None:
            arrays["clips"] = self.clips_JT
        arrays |= {_CLIP_SCORES + precision: values for precision, values in self.clip_scores_J.items()}
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "GoldenCases":
        """Read `golden.npz`.

        Raises:
            ValueError: it is no npz archive, holds no crop, lacks a score of a crop or of a clip, or has clips that are
                not made of its crops.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except Exception as error:  # zipfile, zlib, NumPy and struct raise errors of their own
            raise ValueError(f"not an npz archive ({error})") from error
        crops = arrays.pop("crops", None)
        if crops is None or crops.ndim != 4 or crops.dtype != np.uint8 or not len(crops):
            raise ValueError("`crops` must be a uint8 array of shape (K, S, S, 3), K at least 1")
        clips = arrays.pop("clips", None)
        if clips is not None:
            if clips.ndim != 2 or clips.dtype.kind not in "iu" or not clips.size:
                raise ValueError("`clips` must be an integer array of shape (J, T), both at least 1")
            if clips.min() < 0 or clips.max() >= len(crops):
                raise ValueError(f"`clips` must hold row numbers of the {len(crops)} crops")
            clips = clips.astype(np.int64)
        clip_scores = _take_scores(arrays, _CLIP_SCORES, 0 if clips is None else len(clips))
        scores = _take_scores(arrays, _SCORES, len(crops))
        if arrays:
            raise ValueError(f"unexpected array {sorted(arrays)[0]!r}: only crops, clips and their scores belong there")
        return cls(crops, scores, clips, clip_scores)


def _take_scores(arrays: dict[str, NDArray[np.generic]], prefix: str, count: int) -> dict[str, NDArray[np.float64]]:
    """Remove the arrays whose names start with this prefix, and return them by precision."""
    names = [name for name in arrays if name.startswith(prefix)]
    taken = {name.removeprefix(prefix): np.asarray(arrays.pop(name), np.float64) for name in names}
    if any(values.shape != (count,) or not np.isfinite(values).all() for values in taken.values()):
        raise ValueError(f"each array {prefix}… must hold {count} finite numbers")
    return taken
