"""What the service says of live pictures that lose light, colour, size or quality: live, a reason, or spoof.

    python recipes/default/degraded.py DATA [--pictures 200] [--kinds WORD] [--bundle FOLDER] [--seed 1] [--fresh-of 1]

DATA is a folder with an index.csv. The pictures are of test people, as many of each data set with attacks, at most
three of a person, and made smaller where a side is longer than 640 pixels. Less light means a sensor that catches
3,000 electrons at white in full light, with a read noise of three, and a picture that is brightened again. Other kinds
are compressed after that, as phones do, or stay dark. Each kind's share of `spoof` is compared with that of pictures as
they are: what cannot be judged any more must become a reason, not an attack. The table is printed.

A gate that was chosen on these pictures is tried on others: `--fresh-of 1` leaves out the 200 that seed 1 chooses.
"""

import argparse
import asyncio
import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from liveness_core.bundle import default_bundle_path
from liveness_core.bundle.load import read_manifest
from liveness_service.observability.metrics import Metrics
from liveness_service.results import ImageResult
from liveness_service.service import LivenessService
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, FacePolicy, ScoreOptions, Submission
from liveness_training.data.cutting import read_picture
from liveness_training.data.protocols import assign_splits
from liveness_training.data.samples import Sample, read_index

Picture = NDArray[np.uint8]

_MOST_OF_A_PERSON = 3
_PICTURES = 200
_AS_THEY_ARE = "as they are"
_LONGEST_PX = 640
_WHITE_ELECTRONS, _READ_NOISE = 3000, 3


def in_less_light(picture: Picture, stops: float, random: np.random.Generator, *, brightened: bool = True) -> Picture:
    """The picture in so many stops less light, brightened again unless that is not wanted."""
    stored = np.arange(256) / 255
    light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)[picture]
    electrons = light * _WHITE_ELECTRONS / 2**stops
    caught = random.poisson(electrons) + random.normal(0, _READ_NOISE, light.shape)
    seen = np.clip(caught * (2**stops if brightened else 1) / _WHITE_ELECTRONS, 0, 1)
    return np.round(255 * np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)).astype(np.uint8)


def grey(picture: Picture) -> Picture:
    return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def smaller(picture: Picture, factor: float) -> Picture:
    size = [max(round(side * factor), 1) for side in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def encoded(picture: Picture, kind: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **(options or {"compress_level": 1}))
    return buffer.getvalue()


KINDS: dict[str, Callable[[Picture, np.random.Generator], bytes]] = {
    _AS_THEY_ARE: lambda picture, _: encoded(picture),
    **{
        f"-{stops} stop{'s' * (stops > 1)} of light": lambda picture, random, stops=stops: encoded(
            in_less_light(picture, stops, random)
        )
        for stops in range(1, 7)
    },
    **{
        f"quality 90 at -{stops} stop{'s' * (stops > 1)}": lambda picture, random, stops=stops: encoded(
            in_less_light(picture, stops, random), "JPEG", quality=90
        )
        for stops in range(1, 7)
    },
    **{
        f"left dark at -{stops} stop{'s' * (stops > 1)}": lambda picture, random, stops=stops: encoded(
            in_less_light(picture, stops, random, brightened=False)
        )
        for stops in range(1, 4)
    },
    "grey": lambda picture, _: encoded(grey(picture)),
    "half as bright": lambda picture, _: encoded((picture * 0.5).astype(np.uint8)),
    "a quarter as bright": lambda picture, _: encoded((picture * 0.25).astype(np.uint8)),
    "0.5 as wide": lambda picture, _: encoded(smaller(picture, 0.5)),
    **{
        f"JPEG of quality {quality}": lambda picture, _, quality=quality: encoded(picture, "JPEG", quality=quality)
        for quality in (20, 10)
    },
}


def chosen(root: Path, count: int, seed: int, without: Collection[str] = ()) -> list[Sample]:
    """Live pictures of test people, as many of each data set with attacks, none of those whose paths are `without`."""
    samples = read_index(root)
    attacked = sorted({sample.domain for sample in samples if not sample.live})
    random = np.random.default_rng(seed)
    found = []
    for domain in attacked:
        people: Counter[str] = Counter()
        rows = [
            sample
            for sample, split in zip(samples, assign_splits(samples), strict=True)
            if split == "test" and sample.live and sample.domain == domain and sample.path not in without
        ]
        kept = []
        for row in random.permutation(len(rows)).tolist():
            if people[rows[row].subject] < _MOST_OF_A_PERSON and len(kept) < count // len(attacked):
                people[rows[row].subject] += 1
                kept.append(rows[row])
        found += kept
    return found


async def answers(
    bundle: Path, root: Path, samples: list[Sample], seed: int, kinds: list[str]
) -> dict[str, list[ImageResult]]:
    """For each kind what the service says of each picture; pictures without a face as they are, are left out."""
    service = LivenessService(Settings(bundle_path=bundle, deadline_ms=60_000, log_level="error"), Metrics())
    await service.start()
    options = ScoreOptions(faces=FacePolicy.LARGEST)
    found: dict[str, list[ImageResult]] = defaultdict(list)
    for number, sample in enumerate(samples):
        picture = read_picture(root / sample.path)
        picture = smaller(picture, min(_LONGEST_PX / max(picture.shape[:2]), 1.0))
        for kind in kinds:
            content = KINDS[kind](picture, np.random.default_rng([seed, number]))
            answer = await service.score(Submission(Endpoint.PHOTO, content, options))
            assert isinstance(answer, ImageResult)
            if kind == _AS_THEY_ARE and not answer.faces:
                break
            found[kind].append(answer)
    await service.close()
    return found


def table(found: dict[str, list[ImageResult]], point: str, threshold: float) -> str:
    """Percent of the pictures, and points of `spoof` more than as they are."""
    lines = [
        f"| percent at `{point}` | live | a reason | spoof | more than as they are | reasons |",
        "| --- " * 6 + "|",
    ]
    first: float | None = None
    for kind, results in found.items():
        scored = [result for result in results if result.score is not None]
        spoof = 100 * sum(result.score < threshold for result in scored if result.score is not None) / len(results)
        reason = 100 * (len(results) - len(scored)) / len(results)
        first = spoof if first is None else first
        reasons = Counter(name for result in results if result.score is None for name in result.reasons)
        named = ", ".join(f"`{name}` {count}" for name, count in reasons.most_common(4))
        cells = f"{100 - spoof - reason:.1f} | {reason:.1f} | {spoof:.1f} | {spoof - first:+.1f} | {named}"
        lines.append(f"| {kind} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Ask the service and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, default=_PICTURES)
    parser.add_argument(
        "--kinds", default="", metavar="WORD", help="only kinds whose name has this word, such as light"
    )
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fresh-of", type=int, metavar="SEED", help="leave out what this seed chooses")
    parser.add_argument("--rows", type=Path, help="file for each score and quality, as CSV")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    old = [] if options.fresh_of is None else chosen(options.data, _PICTURES, options.fresh_of)
    samples = chosen(options.data, options.pictures, options.seed, {sample.path for sample in old})
    people, known = ({(sample.domain, sample.subject) for sample in each} for each in (samples, old))
    print(f"{len(samples)} pictures of {len(people)} people, {len(people - known)} of them in no picture left out")
    kinds = [kind for kind in KINDS if options.kinds in kind or kind == _AS_THEY_ARE]
    found = asyncio.run(answers(options.bundle, options.data, samples, options.seed, kinds))
    if options.rows is not None:
        with options.rows.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(
                ["kind", "number", "score", "noise", "grain", "blockiness", "brightness", "face_px", "reasons"]
            )
            for kind, results in found.items():
                for number, result in enumerate(results):
                    measured = result.faces[0].quality if result.faces else None
                    names = ("noise", "grain", "blockiness", "brightness", "face_px")
                    values = [None if measured is None else getattr(measured, name) for name in names]
                    rows.writerow([kind, number, result.score, *values, " ".join(result.reasons)])
    manifest = read_manifest(options.bundle)
    for name in ("balanced", "apcer5"):
        print(f"\n{len(next(iter(found.values())))} pictures\n")
        print(table(found, name, manifest.operating_points[name].threshold))


if __name__ == "__main__":
    main()
