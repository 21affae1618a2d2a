"""Golden cases: crops whose scores are known, so that a bundle can prove on any machine that it still gives them."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# K cases, S crop size


@dataclass(frozen=True, slots=True)
class GoldenCases:
    """A few crops and the score that each variant gave them when the bundle was made."""

    crops_KSS3: NDArray[np.uint8]
    """Crops as `PreprocessSpec.to_tensor` takes them; none from a data set, since a bundle is passed on."""
    scores_K: dict[str, NDArray[np.float64]]
    """Precision -> scores."""

    def to_bytes(self) -> bytes:
        """As the content of `golden.npz`."""
        buffer = io.BytesIO()
        scores = {f"scores_{precision}": values for precision, values in self.scores_K.items()}
        np.savez_compressed(buffer, allow_pickle=False, crops=self.crops_KSS3, **scores)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "GoldenCases":
        """Read `golden.npz`.

        Raises:
            ValueError: it is not an npz archive with at least one crop and, for each variant, a score per crop.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except Exception as error:  # zipfile, zlib, NumPy and struct each raise their own
            raise ValueError(f"not an npz archive ({error})") from error
        crops = arrays.pop("crops", None)
        if crops is None or crops.ndim != 4 or crops.dtype != np.uint8 or not len(crops):
            raise ValueError("`crops` must be a uint8 array of shape (K, S, S, 3), K at least 1")
        scores = {name.removeprefix("scores_"): np.asarray(values, np.float64) for name, values in arrays.items()}
        if any(values.shape != (len(crops),) or not np.isfinite(values).all() for values in scores.values()):
            raise ValueError(f"each array of scores must hold {len(crops)} finite numbers")
        return cls(crops, scores)
