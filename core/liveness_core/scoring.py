"""From crops of faces to scores of photos and clips.

The encoder turns crops into embeddings, the classifier (photos) or the temporal head (clips) turns those into logits,
and a softmax with a temperature turns logits into the probability of live.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liveness_core.clips import ClipSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_core.runtime import TensorSession
from liveness_core.types import FaceCrops, Picture, Score
from liveness_core.views import View, tensors, views_of

# N images, S crop size, D embedding, h x w last feature map, B clips, T frames of a clip

LIVE, SPOOF = 0, 1
"""Columns of the classifier's logits (the paper's b = 0 and b = 1)."""
MOST_ON_CPU = 3
"""Most faces in one run of an encoder on the CPU. What a layer gives for more of them does not stay in the cache until
the next layer reads it: eight faces at once took 3 to 6 % longer than in runs of two and three, and 30 MB more."""
WARMED_SINGLY = 16
"""Up to this size of a batch, each is tried when a model is warmed up on a GPU or a plugin."""


class ScoreError(RuntimeError):
    """A network's output is not a number, so that there is no score."""


@dataclass(frozen=True, slots=True)
class CropScore:
    """What the networks compute for the crops of one face."""

    score: Score
    embedding: NDArray[np.float32]
    """Embedding of shape (D,). A temporal head scores a clip from those of its frames."""
    activation: NDArray[np.float32] | None
    """Class activation map of shape (h, w): logit of live minus logit of spoof at each position in the feature map.
    None unless it was asked for, or if no network of the model can be explained."""


class Scorer:
    """Scores faces by their crops, one for each view. Safe to call from several threads at once."""

    def __init__(
        self,
        encoder: TensorSession,
        classifier: TensorSession,
        preprocess: PreprocessSpec | Sequence[View],
        temperature: float,
    ) -> None:
        """Put the networks together.

        Args:
            encoder: one input a view. Gives `embedding` and, if `preprocess` is one specification, `features`; of
                views, `activation` if a heat map lies on one of them.
            classifier: `embedding` to `logits`.
            preprocess: as in the manifest.
            temperature: divides the logits.
        """
        self._encoder = encoder
        self._classifier = classifier
        self._views = views_of(preprocess)
        self._temperature = temperature
        explained = any(view.heatmap for view in self._views)
        self._map = "features" if isinstance(preprocess, PreprocessSpec) else "activation" if explained else None

    @property
    def provider(self) -> str:
        """What the encoder runs on, e.g. `cpu` or `cuda`."""
        return self._encoder.provider

    def score(self, faces: Sequence[FaceCrops | Picture], *, explain: bool = False) -> list[CropScore]:
        """Score faces as one batch.

        Args:
            faces: of each face its RGB crops, of shape (S, S, 3), cut by `views.cut_views`; of a model with one view
                the crop alone will do.
            explain: also compute class activation maps (Zhou et al., 2016). The embedding is the mean of the feature
                map, so the classifier applied to the features at one position gives its share of the logits.

        Raises:
            ScoreError: a logit is not a finite number.
            NetworkError: the runtime failed.
        """
        if not faces:
            return []
        wanted = ["embedding", self._map] if explain and self._map else ["embedding"]
        outputs = self._encoded(faces, wanted)
        scores_N = self.score_embeddings(outputs[0])
        maps = self._activation_maps(outputs[1]) if len(outputs) > 1 else [None] * len(faces)
        return [
            CropScore(Score(float(score)), embedding_D, map_hw)
            for score, embedding_D, map_hw in zip(scores_N, outputs[0], maps, strict=True)
        ]

    @property
    def providers(self) -> dict[str, str]:
        """What each of its networks runs on, by the network's name."""
        return {"encoder": self._encoder.provider, "classifier": self._classifier.provider}

    def warm_up(self, most: int) -> None:
        """Score black crops in batches: the first run of a size takes longer where kernels are chosen or made for it.

        On the CPU nothing is made for a size, so the largest one and a single face are tried there; the largest one
        comes first, so that memory is taken once. Elsewhere every size up to `WARMED_SINGLY` is tried, then powers of
        two and `most` itself.

        Raises:
            ScoreError, NetworkError: as in `score`.
        """
        black = tuple(np.zeros((view.size, view.size, 3), np.uint8) for view in self._views)
        if self.provider == "cpu":
            sizes = [most]
        else:
            sizes = [
                size for size in range(1, most + 1) if size <= WARMED_SINGLY or size == most or not size & (size - 1)
            ]
        for size in sizes:
            self.score([black] * size)
        self.score([black], explain=True)

    def embed(self, faces: Sequence[FaceCrops | Picture]) -> NDArray[np.float32]:
        """The encoder's embeddings of at least one face, computed as one batch: shape (N, D). `faces` as in `score`.

        Raises:
            NetworkError: the runtime failed.
        """
        return self._encoded(faces, ["embedding"])[0]

    def _encoded(self, faces: Sequence[FaceCrops | Picture], wanted: Sequence[str]) -> list[NDArray[np.float32]]:
        """The encoder's outputs of these names. On the CPU a few faces are computed at a time."""
        most = MOST_ON_CPU if self.provider == "cpu" else len(faces)
        pieces = -(-len(faces) // most)
        if pieces == 1:
            return self._encoder.run(self._tensors(faces), wanted)
        ends = [len(faces) * piece // pieces for piece in range(pieces + 1)]
        runs = [self._encoder.run(self._tensors(faces[start:end]), wanted) for start, end in pairwise(ends)]
        return [np.concatenate(parts) for parts in zip(*runs, strict=True)]

    def _tensors(self, faces: Sequence[FaceCrops | Picture]) -> dict[str, NDArray[np.float32]]:
        return tensors(self._views, [(face,) if isinstance(face, np.ndarray) else face for face in faces])

    def score_embeddings(self, embedding_ND: NDArray[np.float32]) -> NDArray[np.float64]:
        """The scores, shape (N,), of faces whose embeddings are known.

        Raises:
            ScoreError: a logit is not a finite number.
            NetworkError: the runtime failed.
        """
        return _finite_scores(self._logits(embedding_ND), self._temperature)

    def _logits(self, embedding_ND: NDArray[Any]) -> NDArray[np.float32]:
        return self._classifier.run({"embedding": embedding_ND}, ["logits"])[0]

    def _activation_maps(self, features_NDhw: NDArray[Any]) -> list[NDArray[np.float32] | None]:
        if self._map == "activation":  # the encoder of several networks has applied each one's own classifier
            return list(features_NDhw)
        count, depth, height, width = features_NDhw.shape
        positions = np.ascontiguousarray(features_NDhw.transpose(0, 2, 3, 1)).reshape(-1, depth)
        logits = self._logits(positions)
        return list((logits[:, LIVE] - logits[:, SPOOF]).reshape(count, height, width))


class ClipScorer:
    """Scores clips from the embeddings of their frames. Safe to call from several threads at once."""

    def __init__(self, temporal: TensorSession, clip: ClipSpec, temperature: float) -> None:
        self._temporal = temporal
        self._temperature = temperature
        self.clip = clip
        """Which frames of a clip the embeddings have to come from."""

    @property
    def provider(self) -> str:
        """What the temporal head runs on, e.g. `cpu` or `cuda`."""
        return self._temporal.provider

    def score_embeddings(self, embeddings_BTD: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score clips as one batch.

        Args:
            embeddings_BTD: the encoder's embeddings of the T frames of each clip, in the order of time.

        Returns:
            Probability of live for each clip, shape (B,).

        Raises:
            ValueError: the clips do not have T frames.
            ScoreError: a logit is not a finite number.
            NetworkError: the runtime failed.
        """
        if (given := embeddings_BTD.shape[1]) != self.clip.frames:
            raise ValueError(f"a clip has {given} frames, expected {self.clip.frames}")
        return _finite_scores(self._temporal.run({"embeddings": embeddings_BTD}, ["logits"])[0], self._temperature)


def live_probability(logits_N2: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Probability of live, shape (N,): the softmax of the logits divided by the temperature."""
    difference = (logits_N2[:, SPOOF].astype(np.float64) - logits_N2[:, LIVE]) / temperature
    return 1.0 / (1.0 + np.exp(np.clip(difference, -700, 700)))


def _finite_scores(logits_N2: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    # The logits are checked, not the scores: an infinite logit would become a score of exactly 0 or 1.
    if not np.isfinite(logits_N2).all():
        raise ScoreError("the network's output is not a finite number")
    return live_probability(logits_N2, temperature)
