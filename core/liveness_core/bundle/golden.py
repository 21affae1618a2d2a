"""Golden cases: crops whose scores are known, so that a bundle can prove on any machine that it still gives them."""

import io
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# K cases, S crop size, J clips, T frames of a clip

_SCORES, _CLIP_SCORES = "scores_", "clip_scores_"


@dataclass(frozen=True, slots=True)
class GoldenCases:
    """A few crops, and clips made of them, with the score that each variant gave them when the bundle was made."""

    crops_KSS3: NDArray[np.uint8]
    """Crops as `PreprocessSpec.to_tensor` takes them; none from a data set, since a bundle is passed on."""
    scores_K: dict[str, NDArray[np.float64]]
    """Precision -> scores."""
    clips_JT: NDArray[np.int64] | None = None
    """Which crops are each clip's frames; None where the bundle has no temporal head."""
    clip_scores_J: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Precision -> scores of the clips."""

    def to_bytes(self) -> bytes:
        """As the content of `golden.npz`."""
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
            ValueError: it is not an npz archive with at least one crop and, for each variant, a score per crop; or its
                clips are not made of its crops, or lack scores.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except Exception as error:  # zipfile, zlib, NumPy and struct each raise their own
            raise ValueError(f"not an npz archive ({error})") from error
        crops = arrays.pop("crops", None)
        if crops is None or crops.ndim != 4 or crops.dtype != np.uint8 or not len(crops):
            raise ValueError("`crops` must be a uint8 array of shape (K, S, S, 3), K at least 1")
        clips = arrays.pop("clips", None)
        if clips is not None:
            if clips.ndim != 2 or clips.dtype.kind not in "iu" or not clips.size:
                raise ValueError("`clips` must be an integer array of shape (J, T), both at least 1")
            if clips.min() < 0 or clips.max() >= len(crops):
                raise ValueError(f"`clips` must hold places among the {len(crops)} crops")
            clips = clips.astype(np.int64)
        clip_scores = _taken(arrays, _CLIP_SCORES, 0 if clips is None else len(clips))
        scores = _taken(arrays, _SCORES, len(crops))
        if arrays:
            raise ValueError(f"what is {sorted(arrays)[0]!r}? only crops, clips and their scores belong there")
        return cls(crops, scores, clips, clip_scores)


def _taken(arrays: dict[str, NDArray[np.generic]], prefix: str, count: int) -> dict[str, NDArray[np.float64]]:
    """Take the scores of this prefix out of the arrays."""
    names = [name for name in arrays if name.startswith(prefix)]
    taken = {name.removeprefix(prefix): np.asarray(arrays.pop(name), np.float64) for name in names}
    if any(values.shape != (count,) or not np.isfinite(values).all() for values in taken.values()):
        raise ValueError(f"each array {prefix}… must hold {count} finite numbers")
    return taken
