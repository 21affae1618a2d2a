"""How many pictures in full light a bundle's limits of noise and grain refuse, by data set and half of the people.

    python recipes/default/noise_limits.py DATA [--pictures 300] [--bundle FOLDER] [--before 0.3]

DATA is a folder with an index.csv. Faces are found and measured as the service does; no network scores them. Of each
data set and label so many pictures are drawn, at most four of a person. `--before` is a limit of noise alone to compare
with. What the limits do in less light, `degraded.py` shows.
"""

import argparse
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np

from liveness_core.bundle import default_bundle_path
from liveness_core.bundle.load import read_manifest
from liveness_core.detection import create_detector
from liveness_core.quality import measure, refusals
from liveness_core.reasons import Reason
from liveness_core.types import Quality
from liveness_training.data.cutting import read_picture
from liveness_training.data.samples import Sample, read_index

_MOST_OF_A_PERSON = 4


def drawn(samples: list[Sample], count: int) -> list[Sample]:
    """So many pictures of each data set and label."""
    people: Counter[tuple[str, str, bool]] = Counter()
    found: defaultdict[tuple[str, bool], list[Sample]] = defaultdict(list)
    for row in np.random.default_rng(1).permutation(len(samples)).tolist():
        sample = samples[row]
        person, part = (sample.domain, sample.subject, sample.live), found[sample.domain, sample.live]
        if people[person] < _MOST_OF_A_PERSON and len(part) < count:
            people[person] += 1
            part.append(sample)
    return [sample for _, part in sorted(found.items()) for sample in part]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    parser.add_argument("--before", type=float, default=0.3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    manifest = read_manifest(options.bundle)
    detector = create_detector(manifest.detector)
    measured: defaultdict[tuple[str, bool], list[tuple[int, Quality]]] = defaultdict(list)
    for sample in drawn(read_index(options.data), options.pictures):
        picture = read_picture(options.data / sample.path)
        faces = detector.detect(picture)
        if faces:
            half = zlib.crc32(f"{sample.domain}/{sample.subject}".encode()) % 2
            quality = measure(picture, max(faces, key=lambda face: face.box.area))
            measured[sample.domain, sample.live].append((half, quality))
    heads = (
        "data",
        "faces",
        "too noisy, %",
        "halves",
        f"noise > {options.before}, %",
        "noise 50, 97 %",
        "grain 50, 97 %",
    )
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    for (domain, live), found in measured.items():
        refused = [Reason.TOO_NOISY in refusals(quality, manifest.quality_gates) for _, quality in found]
        halves = [
            100 * np.mean([bad for bad, (h, _) in zip(refused, found, strict=True) if h == half]) for half in (0, 1)
        ]
        noise, grain = (np.array([getattr(quality, name) for _, quality in found]) for name in ("noise", "grain"))
        cells = [
            f"{domain}, {'live' if live else 'attacks'}",
            str(len(found)),
            f"{100 * np.mean(refused):.1f}",
            ", ".join(f"{share:.1f}" for share in halves),
            f"{100 * np.mean(noise > options.before):.1f}",
            *(", ".join(f"{value:.2f}" for value in np.quantile(each, (0.5, 0.97))) for each in (noise, grain)),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
