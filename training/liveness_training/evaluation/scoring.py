"""Scores of a trained network on crops as the service would compute them, at temperature 1."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from liveness_core.preprocess import PreprocessSpec
from liveness_core.scoring import live_probability
from liveness_core.types import Picture
from liveness_training.data.batches import service_images
from liveness_training.data.clips import Clip
from liveness_training.data.crops import CropSet
from liveness_training.models.network import ImageNetwork, TemporalHead

# M rows, D embedding, B clips, T frames of a clip

_BATCH = 64


@torch.inference_mode()
def embed(
    network: ImageNetwork,
    crops: CropSet,
    rows: Sequence[int],
    preprocess: PreprocessSpec,
    change: Callable[[Picture], Picture] | None = None,
) -> dict[int, NDArray[np.float32]]:
    """Row -> embedding (D,) of the crop that the service scores, in fp32 and evaluation mode, on the network's device.

    Args:
        network: encoder and classifier.
        crops: the crops.
        rows: the rows to embed.
        preprocess: size, colours and scale of the crops.
        change: applied to every crop before it is embedded; None for nothing.
    """
    network.eval()
    device = next(network.parameters()).device
    found: dict[int, NDArray[np.float32]] = {}
    for batch in _chunks(rows):
        pictures = list(service_images(crops, batch))
        image = torch.from_numpy(preprocess.to_tensor(pictures if change is None else [*map(change, pictures)]))
        embedding_MD, _ = network.encoder(image.to(device, memory_format=torch.channels_last))
        found.update(zip(batch, embedding_MD.cpu().numpy(), strict=True))
    return found


@torch.inference_mode()
def score_frames(network: ImageNetwork, embeddings: Mapping[int, NDArray[np.float32]]) -> dict[int, float]:
    """Row -> probability of live, from its embedding."""
    if not embeddings:
        return {}
    device = next(network.parameters()).device
    embedding_MD = torch.from_numpy(np.stack(list(embeddings.values()))).to(device)
    values = live_probability(network.classifier(embedding_MD).cpu().numpy(), 1.0)
    return dict(zip(embeddings, (float(value) for value in values), strict=True))


@torch.inference_mode()
def score_clips(
    head: TemporalHead, embeddings: Mapping[int, NDArray[np.float32]], clips: Sequence[Clip]
) -> dict[Clip, float]:
    """Clip -> probability of live, from the embeddings of its rows."""
    head.eval()
    device = next(head.parameters()).device
    scores: dict[Clip, float] = {}
    for start in range(0, len(clips), _BATCH):
        batch = clips[start : start + _BATCH]
        embeddings_BTD = torch.from_numpy(np.stack([[embeddings[row] for row in clip.rows] for clip in batch]))
        values = live_probability(head(embeddings_BTD.to(device)).cpu().numpy(), 1.0)
        scores.update(zip(batch, (float(value) for value in values), strict=True))
    return scores


def _chunks(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]
