"""Encoders that are small enough for tests to train."""

import torch
from torch import Tensor, nn


class SmallEncoder(nn.Module):
    """Two convolutions: image (N, 3, S, S) to embedding (N, D) and features (N, D, S/4, S/4)."""

    def __init__(self, embedding_dim: int = 16, norm: bool = False) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        layers: list[nn.Module] = [nn.Conv2d(3, embedding_dim, 3, 2, 1)]
        if norm:
            layers.append(nn.BatchNorm2d(embedding_dim))
        layers += [nn.ReLU(), nn.Conv2d(embedding_dim, embedding_dim, 3, 2, 1), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute embedding and features."""
        features_NDhw = self.body(image)
        return features_NDhw.mean((2, 3)), features_NDhw


def random_batch(images: int = 12, frames: int = 0, size: int = 16, domains: int = 3, seed: int = 0):
    """A `Batch` of noise, of clips where `frames` is not 0; labels and domains take turns."""
    from liveness_training.data.batch import Batch

    random = torch.Generator().manual_seed(seed)
    shape = (images, frames, 3, size, size) if frames else (images, 3, size, size)
    place = torch.arange(images)
    return Batch(torch.randn(shape, generator=random), place // domains % 2, place % domains)
