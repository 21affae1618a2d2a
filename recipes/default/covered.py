"""Fits a small network that says whether a face's eyes or its mouth are covered, and tries it on real pictures.

    python recipes/default/covered.py DATA --masks FOLDER --sunglasses FOLDER --uncovered FOLDER [--pictures 300]
        [--epochs 18] [--out covered.onnx]

DATA is a folder with an index.csv. Coverings are drawn over live pictures of casia_fasd, celeba_spoof and half of
lfw_gray; the face is then looked for again, since a covering moves its box. The network sees the aligned face at 48
pixels and has two outputs, eyes and mouth. Its limits are set so that 0.5 % of the uncovered faces of people kept for
development are refused by each. It is tried on live pictures of nuaa, replay_attack and the other half of lfw_gray, and
on the pictures in the folders, of which the largest face counts. What is printed: how often no face was found, and how
often each output is beyond its limit.
"""

import argparse
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from coverings import Canvas, beard, glasses, hand, mask, scarf, shadow
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from liveness_core.alignment import align
from liveness_core.detection import DetectorSpec, FaceDetector, create_detector
from liveness_core.types import DetectedFace, Picture
from liveness_training.data.cutting import read_picture
from liveness_training.data.samples import read_index

_MARGIN, _CACHED, _SIDE = 1.3, 64, 48
_LONGEST = 400  # pixels of the longer side of a picture: more is not seen in the crop
_DRAWN_EACH = 4
_REFUSED = 0.005
_BATCH = 64


@dataclass(frozen=True)
class Covering:
    """Something drawn over a face, how often, and what it covers."""

    draw: Callable[[Canvas], None]
    share: float
    eyes: bool = False
    mouth: bool = False


COVERINGS = {
    "mask": Covering(mask, 0.2, mouth=True),
    "scarf": Covering(scarf, 0.08, mouth=True),
    "dark glasses": Covering(lambda canvas: glasses(canvas, dark=True), 0.24, eyes=True),
    "clear glasses": Covering(lambda canvas: glasses(canvas, dark=False), 0.16),
    "hand over the mouth": Covering(lambda canvas: hand(canvas, over_eyes=False), 0.09, mouth=True),
    "hand over the eyes": Covering(lambda canvas: hand(canvas, over_eyes=True), 0.06, eyes=True),
    "beard": Covering(beard, 0.08),
    "shadow": Covering(shadow, 0.09),
}


@dataclass(frozen=True)
class Case:
    """The crop of a face, shape (64, 64, 3), and what is known of it."""

    pixels: Picture
    kind: str
    eyes: bool
    mouth: bool
    person: str


class Finder:
    """Finds and cuts faces, and counts where there is none."""

    def __init__(self) -> None:
        self._detector: FaceDetector = create_detector(DetectorSpec())
        self.asked: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def face(self, picture: Picture, kind: str) -> tuple[DetectedFace, Picture] | None:
        """The largest face and its crop."""
        faces = self._detector.detect(picture)
        self.asked[kind] += 1
        if not faces:
            self.lost[kind] += 1
            return None
        return faces[0], align(picture, faces[0], margin=_MARGIN, size=_CACHED).pixels


def opened(path: Path) -> Picture | None:
    """The picture, made smaller; None if it cannot be read."""
    try:
        picture = read_picture(path)
    except (OSError, ValueError):
        return None
    factor = _LONGEST / max(picture.shape[:2])
    if factor >= 1:
        return picture
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def is_grey(picture: Picture) -> bool:
    return int(np.abs(picture[..., 0].astype(int) - picture[..., 2]).max()) <= 8


def cases(finder: Finder, name: str, paths: Iterable[tuple[Path, str]], drawn: int = 0, seed: int = 0) -> list[Case]:
    """Faces as they are and, of each, `drawn` copies with something drawn over it."""
    found = []
    for number, (path, person) in enumerate(paths):
        picture = opened(path)
        seen = None if picture is None else finder.face(picture, name)
        if picture is None or seen is None:
            continue
        found.append(Case(seen[1], "as it is", False, False, person))
        random = np.random.default_rng([seed, number])
        shares = [covering.share for covering in COVERINGS.values()]
        for kind in random.choice(list(COVERINGS), drawn, replace=False, p=shares):
            covering = COVERINGS[str(kind)]
            canvas = Canvas(picture, seen[0], random)
            covering.draw(canvas)
            covered = canvas.done()
            if is_grey(picture):
                covered = cv2.cvtColor(cv2.cvtColor(covered, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8)
            again = finder.face(covered, str(kind))
            if again is not None:
                found.append(Case(again[1], str(kind), covering.eyes, covering.mouth, person))
    return found


def _block(entering: int, leaving: int) -> nn.Sequential:
    convolution = nn.Conv2d(entering, leaving, 3, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(leaving), nn.ReLU())


class Network(nn.Module):
    """Three convolutions and a layer: 12,142 weights, 47 kB; 0.8 million multiplications."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(_block(3, 12), _block(12, 24), _block(24, 32))
        self.last = nn.Sequential(nn.Dropout(0.3), nn.Linear(32 * (_SIDE // 8) ** 2, 2))

    def forward(self, crops_N3hw: torch.Tensor) -> torch.Tensor:
        """Logits of eyes and mouth covered, shape (N, 2), of RGB crops from 0 to 1."""
        centred = crops_N3hw - crops_N3hw.mean((1, 2, 3), keepdim=True)
        scaled = centred / (centred.pow(2).mean((1, 2, 3), keepdim=True).sqrt() + 0.03)
        logits: torch.Tensor = self.last(self.features(scaled).flatten(1))
        return logits


def tensors(found: list[Case]) -> torch.Tensor:
    """Crops as bytes, shape (N, 3, 64, 64)."""
    return torch.from_numpy(np.stack([case.pixels for case in found])).permute(0, 3, 1, 2)


def small(crops: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(crops.float() / 255, size=(_SIDE, _SIDE), mode="area")


def varied(crops: torch.Tensor) -> torch.Tensor:
    """Copies that are moved, turned, mirrored and lit in other ways, since boxes and cameras differ."""
    crops = small(crops)
    count = len(crops)

    def between(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.empty(count, *shape).uniform_(low, high)

    scale, angle = between(0.72, 1.1), between(-0.1, 0.1)
    mirrored = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    rows = [torch.stack([scale * angle.cos() * mirrored, -scale * angle.sin(), between(-0.08, 0.08)], 1)]
    rows += [torch.stack([scale * angle.sin() * mirrored, scale * angle.cos(), between(-0.08, 0.08)], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(crops.shape), align_corners=False)
    crops = functional.grid_sample(crops, grid, padding_mode="border", align_corners=False)
    is_grey_copy = torch.rand(count, 1, 1, 1) < 0.2
    crops = torch.where(is_grey_copy, crops.mean(1, keepdim=True).expand_as(crops), crops)
    crops = crops * between(0.85, 1.15, 3, 1, 1) * between(0.6, 1.3, 1, 1, 1)
    return (crops + torch.randn_like(crops) * torch.rand(count, 1, 1, 1) * 0.03).clamp(0, 1)


def fit(found: list[Case], epochs: int) -> Network:
    """Train the network on these faces."""
    torch.manual_seed(0)
    network, crops = Network(), tensors(found)
    wanted = torch.tensor([[case.eyes, case.mouth] for case in found], dtype=torch.float32)
    steps = max(epochs * (len(found) // _BATCH), 1)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps + 1)
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(found)).split(_BATCH):
            if len(rows) < _BATCH:
                continue
            loss = functional.binary_cross_entropy_with_logits(network(varied(crops[rows])), wanted[rows] * 0.98 + 0.01)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def judged(network: Network, found: list[Case]) -> NDArray[np.float32]:
    with torch.no_grad():
        return np.concatenate([network(small(part)).numpy() for part in tensors(found).split(256)])


def is_for_development(person: str) -> bool:
    return zlib.crc32(person.encode()) % 4 == 0


def of_domain(root: Path, domain: str, most: int, half: int | None = None) -> list[tuple[Path, str]]:
    """Live pictures of a data set, at most so many; of lfw_gray those of its first or second half."""
    rows = [sample for sample in read_index(root) if sample.live and sample.domain == domain]
    if half is not None:
        rows = [sample for sample in rows if (int(sample.subject) >= 1500) == bool(half)]
    order = np.random.default_rng(5).permutation(len(rows))[:most]
    return [(root / rows[row].path, f"{domain}/{rows[row].subject}") for row in order.tolist()]


def of_folder(folder: Path, most: int) -> list[tuple[Path, str]]:
    """Pictures of a folder, evenly spread, at most so many."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    return [(path, path.name) for path in paths[:: max(len(paths) // most, 1)]]


def write_onnx(network: Network, path: Path) -> None:
    """Write the network; its input `crops` is of RGB from 0 to 1, shape (N, 3, 48, 48)."""
    example = torch.zeros(1, 3, _SIDE, _SIDE)
    shapes = {"crops_N3hw": {0: torch.export.Dim("faces")}}
    exported = torch.onnx.export(network, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False)
    assert exported is not None
    exported.save(path)


def main() -> None:
    """Draw, fit, try, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    for name in ("masks", "sunglasses", "uncovered"):
        parser.add_argument(f"--{name}", type=Path, help="folder with pictures of real people")
    parser.add_argument("--pictures", type=int, default=300, help="most of a data set or folder")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    finder, most = Finder(), options.pictures
    found = []
    for seed, (domain, half) in enumerate((("celeba_spoof", None), ("lfw_gray", 0), ("casia_fasd", None))):
        found += cases(finder, domain, of_domain(options.data, domain, most, half), _DRAWN_EACH, seed)
    network = fit([case for case in found if not is_for_development(case.person)], options.epochs)
    kept = [case for case in found if is_for_development(case.person)]
    logits = judged(network, kept)
    plain = np.array([not case.eyes and not case.mouth and case.kind != "shadow" for case in kept])
    limits = np.quantile(logits[plain], 1 - _REFUSED, axis=0)
    print(f"{len(found)} faces, limits of eyes and mouth: {limits.round(2).tolist()}")
    tried = {kind: [case for case in kept if case.kind == kind] for kind in ("as it is", *COVERINGS)}
    for domain, half in (("nuaa", None), ("replay_attack", None), ("lfw_gray", 1)):
        tried[f"{domain}, kept out"] = cases(finder, domain, of_domain(options.data, domain, most, half))
    for name in ("masks", "sunglasses", "uncovered"):
        if (folder := getattr(options, name)) is not None:
            tried[name] = cases(finder, name, of_folder(folder, most))
    for name, some in tried.items():
        if some:
            beyond = judged(network, some) > limits
            eyes, mouth, either = (100 * share for share in (*beyond.mean(0), beyond.any(1).mean()))
            print(f"{name}: {len(some)} faces, eyes {eyes:.1f} %, mouth {mouth:.1f} %, either {either:.1f} %")
    for name, count in finder.lost.items():
        print(f"no face: {count} of {finder.asked[name]} {name}")
    if options.out is not None:
        write_onnx(network, options.out)


if __name__ == "__main__":
    main()
