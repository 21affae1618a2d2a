"""Count the swapped faces that the check `face_changed` sees and the honest clips that it refuses.

    python benchmarks/face_changed.py DATA [--domain replay_attack] [--swaps 3000]

DATA is a folder with an index.csv (see docs/training.md) whose domain has recordings of several frames. Honest:
neighbouring frames of one recording. Swapped: frames of two people of the same domain, the second face placed where
the first one was, so that only its looks give it away. The thresholds were chosen on Replay-Attack, so figures on that
data set are a little too good.
"""

import argparse
import csv
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.detection.tracking import FaceTracker
from liveness_service.scoring.continuity import Appearance, appearance, is_same_face


def recordings(root: Path, domain: str) -> dict[str, list[dict[str, str]]]:
    found = defaultdict(list)
    with (root / "index.csv").open() as file:
        for row in csv.DictReader(file):
            if row["domain"] == domain and row["sequence"]:
                found[f"{row['label']}/{row['attack']}/{row['sequence']}"].append(row)
    return {name: sorted(rows, key=lambda row: row["path"]) for name, rows in found.items() if len(rows) >= 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--domain", default="replay_attack")
    parser.add_argument("--swaps", type=int, default=3000)
    options = parser.parse_args()
    detector = create_detector(DetectorSpec())
    looks: dict[str, list[Appearance]] = {}
    subjects, lengths = {}, []
    for name, rows in recordings(options.data, options.domain).items():
        tracker, seen = FaceTracker(detector), []
        for position, row in enumerate(rows):
            picture = cv2.cvtColor(cv2.imread(str(options.data / row["path"])), cv2.COLOR_BGR2RGB)
            faces = tracker.find(picture, position).faces
            if faces:
                seen.append(appearance(picture, faces[0]))
        looks[name], subjects[name] = seen, rows[0]["subject"]
        lengths.append(len(rows))
    pairs = [is_same_face(before, after) for seen in looks.values() for before, after in pairwise(seen)]
    clips = [all(is_same_face(*pair) for pair in pairwise(seen)) for seen in looks.values() if len(seen) > 1]
    print(f"{options.domain}: {len(clips)} recordings of {min(lengths)} to {max(lengths)} frames")
    print(f"honest: {100 * np.mean(np.logical_not(pairs)):.2f} % of {len(pairs)} pairs of frames refused, ", end="")
    print(f"{100 * np.mean(np.logical_not(clips)):.2f} % of recordings")
    random = np.random.default_rng(0)
    names = [name for name, seen in looks.items() if seen]
    seen_swaps = defaultdict(list)
    for _ in range(options.swaps):
        one, other = random.choice(names, 2, replace=False)
        if subjects[one] == subjects[other]:
            continue
        before, after = (looks[name][random.integers(len(looks[name]))] for name in (one, other))
        moved = Appearance(before.box, after.detail, after.tint)
        kind = " to ".join(name.split("/")[0] for name in (one, other))
        seen_swaps[kind].append(not is_same_face(before, moved))
    for kind, seen_swap in sorted(seen_swaps.items()):
        print(f"swapped, {kind}: {100 * np.mean(seen_swap):.1f} % of {len(seen_swap)} seen")


if __name__ == "__main__":
    main()
