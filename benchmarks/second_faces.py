"""How small a second face may be to be found, by the canvas of the first search.

    python benchmarks/second_faces.py DATA [--pictures 40]

DATA is a folder with an index.csv (docs/training.md). A small face is set into a corner of its pictures. Printed is,
for each size of that face in pixels of a canvas of 320, in how many pictures YuNet proposes it and O-Net confirms it:
with the canvas of 320 that the detector searches first, and with one of 160, whose search costs a quarter.
"""

import argparse
import random
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from liveness_core.detection.yunet_onet import _FIRST, _NEAR, YunetOnetDetector
from liveness_core.types import Picture
from liveness_training.data.cutting import read_picture
from liveness_training.data.samples import read_index

SIZES = (8, 10, 12, 16, 20, 24, 32)
HEAD_PX = 101  # size of the face in HEAD
HEAD = data.astronaut()[20:250, 120:330]


def with_second_face(picture: Picture, size: int) -> tuple[Picture, tuple[int, int]]:
    """The picture with the small face in its corner, and width and height of what was set in."""
    scale = size * max(picture.shape[:2]) / 320 / HEAD_PX
    small = cv2.resize(HEAD, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    made = picture.copy()
    made[: len(small), : small.shape[1]] = small
    return made, (small.shape[1], small.shape[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, default=40)
    options = parser.parse_args()
    detector = YunetOnetDetector()
    samples = [sample for sample in read_index(options.data) if sample.domain != "lfw_gray"]
    found = {(size, look.side): 0 for size in SIZES for look in (_FIRST, _NEAR)}
    for sample in random.Random(0).sample(samples, options.pictures):
        picture = read_picture(options.data / sample.path)
        factor = max(480 / min(picture.shape[:2]), 1.0)
        picture = np.asarray(cv2.resize(picture, None, fx=factor, fy=factor), np.uint8)
        for size in SIZES:
            made, (width, height) = with_second_face(picture, size)
            for look in (_FIRST, _NEAR):
                faces = detector._confirmed(made, detector._proposed(made, look))
                centres = [face.box.centre for face in faces]
                found[size, look.side] += any(x < width and y < height for x, y in centres)
    print(f"found in so many of {options.pictures} pictures:\n")
    print("| pixels at 320 | canvas of 320 | canvas of 160 |\n| --- | --- | --- |")
    for size in SIZES:
        print(f"| {size} | {found[size, 320]} | {found[size, 160]} |")


if __name__ == "__main__":
    main()
