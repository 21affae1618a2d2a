"""Grad-CAM (Selvaraju et al., 2017): which parts of a crop a decision rests on, as in the paper's Figure 6."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from liveness_core.scoring import LIVE, SPOOF
from liveness_core.types import Picture
from liveness_training.data.batches import service_images
from liveness_training.data.split_crops import SplitCrops
from liveness_training.models.network import ImageNetwork

# N images, D embedding, h x w last feature map, S crop size

_COLUMNS = 4


def grad_cam(network: ImageNetwork, image_N3SS: Tensor, column: int) -> NDArray[np.float32]:
    """Maps (N, h, w) in [0, 1]: ReLU(Σ_d α_d A_d) over its maximum, α_d the mean gradient of the logit by A_d.

    Args:
        network: in evaluation mode.
        image_N3SS: preprocessed crops, shape (N, 3, S, S).
        column: column of the logits, 0 live or 1 spoof.
    """
    maps_Nhw = weighted_map(network, image_N3SS, column).relu()
    highest_N11 = maps_Nhw.amax((1, 2), keepdim=True)
    found: NDArray[np.float32] = (maps_Nhw / highest_N11.clamp_min(1e-12)).numpy()
    return found


def weighted_map(network: ImageNetwork, image_N3SS: Tensor, column: int) -> Tensor:
    """Maps (N, h, w) of both signs: Σ_d α_d A_d, before Grad-CAM cuts off what speaks against the class.

    The service's heat map is h·w times the difference of those of live and spoof, but for a constant. Arguments as of
    `grad_cam`.
    """
    network.eval()
    with torch.enable_grad():
        embedding_ND, features_NDhw = network.encoder(image_N3SS.requires_grad_())
        logit = network.classifier(embedding_ND)[:, column].sum()
        gradient_NDhw = torch.autograd.grad(logit, features_NDhw)[0]
    weight_ND11 = gradient_NDhw.mean((2, 3), keepdim=True)
    found: Tensor = (weight_ND11 * features_NDhw).sum(1).detach()
    return found


@dataclass(frozen=True, slots=True)
class Panel:
    """A crop and the parts of it that the decision rests on."""

    species: str
    score: float
    """Probability of live."""
    right: bool
    """Whether the score falls on the right side of the threshold."""
    crop: Picture
    overlaid: Picture
    """The crop with the map of the class that the network chose."""


def panels(
    network: ImageNetwork,
    data: SplitCrops,
    rows: Sequence[int],
    scores: Mapping[int, float],
    threshold: float,
    seed: int = 0,
) -> list[Panel]:
    """Up to four crops of each species, up to half of them misclassified; bona fide crops come first."""
    random = np.random.default_rng(seed)
    chosen: list[tuple[int, bool]] = []
    samples = data.crops.samples
    for species in sorted({samples[row].species for row in rows}, key=lambda name: (name != "live", name)):
        members = [int(row) for row in random.permutation([row for row in rows if samples[row].species == species])]
        is_right = {row: (scores[row] >= threshold) == samples[row].live for row in members}
        wrong = [row for row in members if not is_right[row]][: _COLUMNS // 2]
        right = [row for row in members if is_right[row]][: _COLUMNS - len(wrong)]
        chosen += [*((row, True) for row in right), *((row, False) for row in wrong)]
    found = []
    for row, was_right in chosen:
        crop = np.asarray(service_images(data.crops, [row])[0])
        image = torch.from_numpy(data.preprocess.to_tensor([crop]))
        column = LIVE if scores[row] >= threshold else SPOOF
        found.append(
            Panel(
                data.crops.samples[row].species,
                scores[row],
                was_right,
                crop,
                _overlaid(crop, grad_cam(network, image, column)[0]),
            )
        )
    return found


def _overlaid(crop: Picture, map_hw: NDArray[np.float32]) -> Picture:
    large = cv2.resize(map_hw, crop.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    heat = cv2.applyColorMap((np.clip(large, 0, 1) * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    mixed = 0.5 * crop.astype(np.float32) + 0.5 * cv2.cvtColor(heat, cv2.COLOR_BGR2RGB).astype(np.float32)
    return np.clip(mixed, 0, 255).astype(np.uint8)
