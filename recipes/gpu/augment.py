"""The augmentation of `liveness_training.data.augment` for a whole batch on a GPU: the same steps, shares and ranges.

What a batch draws comes from NumPy's generator on the processor, so that the GPU waits for nothing; only the noise is
drawn where it is added.
"""

from functools import cache

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

# N images, S side in pixels; a multiple of 16, the blocks of JPEG with halved chroma

_LUMA_QUALITY_50 = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99
"""
_CHROMA_QUALITY_50 = """
17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99
"""
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_GREY = (0.299, 0.587, 0.114)
_SCALES = 4
"""Resolutions that a batch's reduced images have; each alone would cost a call of the GPU for every image."""


def augment(image_N3SS: Tensor, random: Generator, grey_share: float) -> Tensor:
    """Randomly changed copies of images, values 0 to 255, same shape.

    Args:
        image_N3SS: values 0 to 255, float32.
        random: generator that every choice is drawn from.
        grey_share: share of the copies that lose their colours, 0 to 1.
    """
    x_N3SS = _turned_part(image_N3SS, random)
    x_N3SS = _lower_resolution(x_N3SS, random)
    x_N3SS = _rounded(_colour(x_N3SS, random, grey_share))
    count = len(x_N3SS)
    deviation_N = np.where(random.random(count) < 0.3, random.uniform(1, 10, count), 0)
    x_N3SS = _rounded(x_N3SS + torch.randn_like(x_N3SS) * _like(deviation_N, x_N3SS).view(-1, 1, 1, 1))
    if len(rows := np.flatnonzero(random.random(count) < 0.4)):
        some = torch.from_numpy(rows).to(x_N3SS.device)
        quality = _like(random.integers(30, 96, len(rows)), x_N3SS)
        x_N3SS = x_N3SS.index_copy(0, some, through_jpeg(x_N3SS[some], quality))
    return _hide(x_N3SS, random)


def _like(values: np.ndarray, x: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32)).to(x.device, non_blocking=True)


@cache
def _constant(name: str, device: torch.device) -> Tensor:
    """A constant on a device: to put it there anew would wait for all that the GPU still has to do."""
    frequency, place = np.arange(8)[:, None], np.arange(8)[None]
    cosines = np.cos((2 * place + 1) * frequency * np.pi / 16) * np.where(frequency == 0, np.sqrt(1 / 8), 0.5)
    values = {
        "grey": np.array(_GREY).reshape(1, 3, 1, 1),
        "to_ycc": np.array(_TO_YCC),
        "from_ycc": np.linalg.inv(np.array(_TO_YCC)),
        "luma": np.array(_LUMA_QUALITY_50.split(), np.float64).reshape(8, 8),
        "chroma": np.array(_CHROMA_QUALITY_50.split(), np.float64).reshape(8, 8),
        "cosines": cosines,
    }
    return torch.from_numpy(values[name].astype(np.float32)).to(device)


def _rounded(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255)


def _turned_part(x_N3SS: Tensor, random: Generator) -> Tensor:
    """A slightly turned square within each image, 75 to 100 % of its side, half of them mirrored."""
    count = len(x_N3SS)
    angle_N = np.radians(random.uniform(-8, 8, count))
    spread_N = np.abs(np.cos(angle_N)) + np.abs(np.sin(angle_N))
    side_N = random.uniform(0.75, 1.0, count) / spread_N
    centre_N2 = random.uniform(-1, 1, (count, 2)) * (1 - side_N * spread_N)[:, None]
    cos_N, sin_N = np.cos(angle_N) * side_N, np.sin(angle_N) * side_N
    mirror_N = np.where(random.random(count) < 0.5, -1, 1)
    rows = [[cos_N * mirror_N, -sin_N, centre_N2[:, 0]], [sin_N * mirror_N, cos_N, centre_N2[:, 1]]]
    theta_N23 = _like(np.stack([np.stack(row, 1) for row in rows], 1), x_N3SS)
    grid = functional.affine_grid(theta_N23, list(x_N3SS.shape), align_corners=False)
    return _rounded(functional.grid_sample(x_N3SS, grid, padding_mode="border", align_corners=False))


def _lower_resolution(x_N3SS: Tensor, random: Generator) -> Tensor:
    """Three of ten images reduced to 30 to 90 % and enlarged again."""
    size = x_N3SS.shape[-1]
    chosen = np.flatnonzero(random.random(len(x_N3SS)) < 0.3)
    for rows in np.array_split(chosen, _SCALES):
        small = int(size * random.uniform(0.3, 0.9))
        down, up = ("area", "bilinear", "bicubic")[random.integers(3)], ("bilinear", "bicubic")[random.integers(2)]
        if len(rows):
            some = torch.from_numpy(rows).to(x_N3SS.device)
            reduced = _rounded(functional.interpolate(x_N3SS[some], (small, small), mode=down))
            x_N3SS = x_N3SS.index_copy(0, some, _rounded(functional.interpolate(reduced, (size, size), mode=up)))
    return x_N3SS


def _colour(x_N3SS: Tensor, random: Generator, grey_share: float) -> Tensor:
    count = len(x_N3SS)
    changes_N = random.random(count) < 0.8

    def drawn(low: float, high: float, width: int = 1) -> Tensor:
        value = np.where(changes_N[:, None], random.uniform(low, high, (count, width)), 1)
        return _like(value, x_N3SS).view(count, width, 1, 1)

    y_N3SS = (x_N3SS / 255) ** drawn(0.7, 1.4)
    mean = y_N3SS.mean((1, 2, 3), keepdim=True)
    y_N3SS = (y_N3SS - mean) * drawn(0.7, 1.3) + mean * drawn(0.75, 1.25)
    y_N3SS = y_N3SS * drawn(0.88, 1.12, 3)  # white balance
    grey = y_N3SS.mean(1, keepdim=True)
    y_N3SS = grey + (y_N3SS - grey) * drawn(0.5, 1.5)
    luma = (y_N3SS * _constant("grey", x_N3SS.device)).sum(1, keepdim=True)
    is_grey = _like(random.random(count) < grey_share, x_N3SS).view(-1, 1, 1, 1)
    return 255 * torch.lerp(y_N3SS, luma.expand_as(y_N3SS), is_grey)


def through_jpeg(x_N3SS: Tensor, quality_N: Tensor) -> Tensor:
    """Images as they look after JPEG compression with halved chroma resolution, values 0 to 255.

    Args:
        x_N3SS: RGB, values 0 to 255; 16 divides S.
        quality_N: 1 to 100, as libjpeg counts it.
    """
    ycc = torch.einsum("ij,njhw->nihw", _constant("to_ycc", x_N3SS.device), x_N3SS)
    scale_N = torch.where(quality_N < 50, 5000 / quality_N, 200 - 2 * quality_N)
    luma = _through_blocks(ycc[:, :1] - 128, "luma", scale_N) + 128
    chroma = _through_blocks(functional.avg_pool2d(ycc[:, 1:], 2), "chroma", scale_N)
    chroma = functional.interpolate(chroma, scale_factor=2.0, mode="bilinear", align_corners=False)
    rgb = torch.einsum("ij,njhw->nihw", _constant("from_ycc", x_N3SS.device), torch.cat([luma, chroma], 1))
    return _rounded(rgb)


def _through_blocks(x_NCHW: Tensor, table: str, scale_N: Tensor) -> Tensor:
    """The cosine transform of 8 x 8 blocks, rounded to the steps of a quality, and back."""
    count, channels, height, width = x_NCHW.shape
    step = (_constant(table, x_NCHW.device) * scale_N.view(-1, 1, 1) + 50) / 100
    step = step.floor().clamp(1, 255).view(count, 1, 1, 1, 8, 8)
    dct = _constant("cosines", x_NCHW.device)
    blocks = x_NCHW.reshape(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    coefficients = (dct @ blocks @ dct.T / step).round() * step
    return (dct.T @ coefficients @ dct).transpose(3, 4).reshape(count, channels, height, width)


def _hide(x_N3SS: Tensor, random: Generator) -> Tensor:
    """A fifth of the images with a grey rectangle."""
    count, size = len(x_N3SS), x_N3SS.shape[-1]
    hides_N = random.random(count) < 0.2
    length_N2 = random.integers(size // 8, size // 3, (count, 2))
    start_N2 = random.integers(0, size - length_N2)
    place = np.arange(size)
    inside = [(place >= start_N2[:, each, None]) & (place < (start_N2 + length_N2)[:, each, None]) for each in (0, 1)]
    mask = _like(inside[0][:, None, :, None] & inside[1][:, None, None, :] & hides_N[:, None, None, None], x_N3SS)
    grey = _like(random.integers(0, 256, count), x_N3SS).view(-1, 1, 1, 1)
    return torch.lerp(x_N3SS, grey.expand_as(x_N3SS), mask)
