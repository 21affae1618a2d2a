"""Reads small videos whose frames can be told apart."""

import io

import av
import numpy as np
import pytest

from liveness_core.video import (
    VideoReader,
)
from support.videos import encode_video


def reader(content, limits=None, **options):
    return VideoReader(io.BytesIO(content), limits, **options)


def frames_of(content, positions, **options):
    return list(reader(content, **options).read(positions))


def numbers(frames):
    """The numbers that these frames have in the video made by `greys`."""
    return [round((float(frame.pixels.mean()) - 20) / 10) for frame in frames]


def greys(kind, codec, *, noise=0, **options):
    """A video of 20 frames; frame k has level 20 + 10 k."""
    size = (144, 176) if codec == "h263" else (64, 96)
    frames = np.array([np.full((*size, 3), 20 + 10 * number, np.uint8) for number in range(20)])
    frames += np.random.default_rng(0).integers(0, 2 * noise + 1, frames.shape, dtype=np.uint8)
    frames -= np.uint8(noise)
    return encode_video(frames, kind, codec, **options)


def encodable(kind, codec, **options):
    try:
        return greys(kind, codec, **options)
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this build of PyAV cannot encode {codec} into {kind}: {error}")


def assert_like(pixels, expected):
    assert pixels.shape == expected.shape
    assert pixels.dtype == np.uint8
    # Compare the middles of the quarters, away from the edges, which compression blurs.
    height, width = expected.shape[:2]
    at = np.ix_([height // 4, 3 * height // 4], [width // 4, 3 * width // 4])
    assert np.abs(pixels[at].astype(int) - expected[at]).max() < 25
