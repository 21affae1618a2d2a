"""Measure face detectors side by side, on the same pictures, in turns.

    python benchmarks/detectors.py DATA [--clips CLIPS] [--models MODELS] [--detectors mtcnn,yunet_onet]
        [--bundle models/default] [--limit 200]

DATA is a folder with an index.csv (see docs/training.md), CLIPS one with recordings of one person each, MODELS one with
the files that scrfd and yunet need. The others are compared with the first detector. Tables, in Markdown:

- coverage: pictures in which a face is found, by domain and label, and in the same pictures made harder; and pictures
  in which several are found, which a service that expects one person refuses;
- placement: how far landmarks, box and crop are from those of the first detector, and a bundle's scores of the crops;
- jitter: what is left of a landmark's way through three neighbouring frames without its steady motion,
  |p0 - 2 p1 + p2| / sqrt(6), in distances of the eyes; for the crop in sides of the crop;
- time and memory: processor time of one picture, in turns, and how much memory pictures of 100 sizes leave behind.
"""

import argparse
import hashlib
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from skimage import data

from liveness_core.alignment import crop_square, face_size
from liveness_core.bundle import load_bundle
from liveness_core.detection import DetectorSpec, FaceDetector, create_detector
from liveness_core.types import DetectedFace, Picture
from liveness_core.views import cut_views
from liveness_training.data.cutting import read_picture
from liveness_training.data.protocols import assign_splits
from liveness_training.data.samples import Sample, read_index
from liveness_training.evaluation.metrics import Scored, auc

FILES = {"scrfd": "scrfd_500m_bnkps.onnx", "yunet": "face_detection_yunet_2026may.onnx"}
SIZES = {"0.3": (640, 480), "2": (1632, 1224), "12": (4000, 3000)}
MARGIN = 2.7
TRIPLES = 9  # in each recording
MEMORY = """
import resource, sys
import cv2, numpy as np
from skimage import data
from liveness_core.detection import DetectorSpec, create_detector
detector = create_detector(DetectorSpec(name=sys.argv[1]), model=sys.argv[2] or None)
def held():
    return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize() / 1e6
sides = np.random.default_rng(0).integers(100, 1400, (100, 2)).tolist()
for number, size in enumerate(sides):
    detector.detect(cv2.resize(data.astronaut(), tuple(size)))
    if number == 20:
        start = held()
print(start, held(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""


def turned(picture: Picture, degrees: float) -> Picture:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def narrowed(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    return cv2.resize(picture, (max(round(width * 0.45), 1), height), interpolation=cv2.INTER_AREA)


HARDER: dict[str, Callable[[Picture], Picture]] = {
    "as it is": lambda picture: picture,
    "turned by 35°": lambda picture: turned(picture, 35),
    "0.45 as wide": narrowed,
    "an eighth as bright": lambda picture: (picture // 8).astype(np.uint8),
    "lower half hidden": lambda picture: np.concatenate(
        [picture[: len(picture) // 2], picture[len(picture) // 2 :] // 9]
    ),
}


def chosen(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """At most `limit` pictures of each domain and label, the same ones each time."""
    groups = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: hashlib.sha256(sample.path.encode()).digest()):
        groups[sample.domain, sample.live].append(sample)
    return [sample for group in groups.values() for sample in group[:limit]]


def near(faces: Sequence[DetectedFace], known: DetectedFace | None) -> DetectedFace | None:
    """The face nearest to a known one; the largest where none is known."""
    if known is None or not faces:
        return faces[0] if faces else None
    return min(faces, key=lambda face: float(np.hypot(*np.subtract(face.box.centre, known.box.centre))))


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n### {title}\n\n| {' | '.join(head)} |\n{'| --- ' * len(head)}|")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


def coverage(detectors: dict[str, FaceDetector], root: Path, samples: Sequence[Sample], hard: int) -> None:
    found: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, sample in enumerate(samples):
        picture = read_picture(root / sample.path)
        group = f"{sample.domain}, {'live' if sample.live else 'attacks'}"
        for kind, change in HARDER.items():
            if kind == "as it is" or number % hard == 0:
                for name, detector in detectors.items():
                    found[kind, group][name].append(len(detector.detect(change(picture))))
    rows = [
        [kind, group, len(next(iter(counts.values())))]
        + [f"{100 * np.mean(np.array(count) > 0):.1f}" for count in counts.values()]
        + [sum(faces > 1 for faces in count) for count in counts.values()]
        for (kind, group), counts in sorted(found.items())
    ]
    heads = [*(f"{name}: found, %" for name in detectors), *(f"{name}: several" for name in detectors)]
    table("Coverage", ["picture", "group", "pictures", *heads], rows)


def placement(detectors: dict[str, FaceDetector], root: Path, samples: Sequence[Sample], bundle: Path) -> None:
    loaded = load_bundle(bundle)
    views = loaded.manifest.views
    first, *others = detectors
    off: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    kept = defaultdict(list)
    for sample in samples:
        picture = read_picture(root / sample.path)
        faces = {name: detector.detect(picture) for name, detector in detectors.items()}
        if not all(faces.values()):
            continue
        known = faces[first][0]
        points, size = np.array(known.landmarks), face_size(known.box)
        eyes = float(np.hypot(*(points[1] - points[0])))
        for name in others:
            face = near(faces[name], known)
            apart = np.hypot(*(np.array(face.landmarks) - points).T).mean() / eyes
            shift = np.hypot(*np.subtract(face.box.centre, known.box.centre)) / size
            off[name, sample.domain].append([apart, shift, abs(np.log(face_size(face.box) / size))])
        for name, found in faces.items():
            crops = cut_views(views, picture, found[0])
            scores[sample.domain][name].append(float(loaded.scorer.score([crops])[0].score))
        kept[sample.domain].append(sample)
    rows = [
        [name, domain, len(values), *(f"{np.median(v):.3f}, {np.percentile(v, 95):.3f}" for v in np.transpose(values))]
        for (name, domain), values in off.items()
    ]
    table(
        f"Placement against {first}: median, 95th percentile",
        ["detector", "domain", "pictures", "landmarks / eyes", "centre / size", "log size"],
        rows,
    )
    rows = []
    for domain, by_name in scores.items():
        people = kept[domain]
        for name, values in by_name.items():
            both = len({sample.live for sample in people}) == 2
            scored = Scored.of(
                values, [s.live for s in people], [s.species for s in people], [s.subject for s in people]
            )
            drift = np.abs(np.subtract(values, by_name[first]))
            figure = f"{100 * auc(scored):.2f}" if both else "–"
            rows.append([domain, name, len(people), figure, f"{drift.mean():.4f}", f"{np.percentile(drift, 95):.3f}"])
    table(
        f"Scores of {loaded.manifest.name} {loaded.manifest.version} on unseen people",
        ["domain", "crops by", "pictures", "AUC", "mean drift", "95th percentile"],
        rows,
    )


def triples(folder: Path) -> Iterator[list[Picture]]:
    for path in sorted(folder.rglob("*.mp4")):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            count = stream.frames or 250
            starts = [int((part + 0.5) * count / TRIPLES) for part in range(TRIPLES)]
            frames: dict[int, Picture] = {}
            for number, frame in enumerate(container.decode(stream)):
                if any(start <= number <= start + 2 for start in starts):
                    frames[number] = frame.to_ndarray(format="rgb24")
                if number > starts[-1] + 2:
                    break
        yield from ([frames[start + step] for step in range(3)] for start in starts if start + 2 in frames)


def jitter(detectors: dict[str, FaceDetector], folder: Path) -> None:
    figures: dict[str, list[list[float]]] = defaultdict(list)
    missed, several, frames = defaultdict(int), defaultdict(int), 0
    for pictures in triples(folder):
        frames += 3
        for name, detector in detectors.items():
            faces: list[DetectedFace | None] = []
            for picture in pictures:
                found = detector.detect(picture)
                missed[name] += not found
                several[name] += len(found) > 1
                faces.append(near(found, faces[-1] if faces else None))
            if None in faces:
                continue
            points = np.array([face.landmarks for face in faces])
            eyes = np.hypot(*(points[:, 1] - points[:, 0]).T).mean()
            height, width = pictures[0].shape[:2]
            squares = [crop_square(face, width, height, MARGIN) for face in faces]
            side = np.mean([square.side_px for square in squares])
            away = [
                np.hypot(*bent(points).T).mean() / eyes,
                np.hypot(*bent(np.array([square.centre for square in squares]))) / side,
                abs(bent(np.array([square.side_px for square in squares]))) / side,
                abs(bent(np.array([square.angle_deg for square in squares]))),
            ]
            figures[name].append(away)
    rows = [
        [name, frames, missed[name], several[name]]
        + [f"{np.median(v):.4f}, {np.percentile(v, 90):.4f}" for v in np.transpose(figures[name])]
        for name in detectors
    ]
    head = [
        "detector",
        "frames",
        "missed",
        "several",
        "landmarks / eyes",
        "crop's centre",
        "crop's side",
        "angle, degrees",
    ]
    table("Jitter between neighbouring frames: median, 90th percentile", head, rows)


def bent(values: np.ndarray) -> np.ndarray:
    """What steady motion does not explain of three values in a row."""
    return (values[0] - 2 * values[1] + values[2]) / np.sqrt(6)


def cost(detectors: dict[str, FaceDetector], models: Path | None, rounds: int = 7) -> None:
    taken = defaultdict(list)
    for megapixels, size in SIZES.items():
        picture = cv2.resize(data.astronaut(), size, interpolation=cv2.INTER_CUBIC)
        for turn in range(rounds + 1):
            for name, detector in detectors.items():
                start = time.process_time()
                detector.detect(picture)
                if turn:  # the first one warms up
                    taken[name, megapixels].append(1e3 * (time.process_time() - start))
    rows = []
    for name in detectors:
        model = str(models / FILES[name]) if models and name in FILES else ""
        shown = subprocess.run(
            [sys.executable, "-c", MEMORY, name, model], capture_output=True, text=True, check=True, timeout=600
        )
        start, end, peak = (float(value) for value in shown.stdout.split()[-3:])
        times = [f"{np.median(taken[name, megapixels]):.1f}" for megapixels in SIZES]
        rows.append([name, *times, f"{end - start:+.0f}", f"{peak:.0f}"])
    times = [f"ms at {megapixels} megapixels" for megapixels in SIZES]
    table("Processor time and memory", ["detector", *times, "MB that 80 more sizes leave", "MB at the peak"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--detectors", default="mtcnn,yunet_onet")
    parser.add_argument("--bundle", type=Path, default=Path("models/default"))
    parser.add_argument("--limit", type=int, default=200, help="pictures of each domain and label")
    parser.add_argument("--hard", type=int, default=4, help="every how-many-th picture is also made harder")
    parser.add_argument("--only", default="cost,jitter,placement,coverage", help="which tables")
    arguments = parser.parse_args()
    tables = arguments.only.split(",")
    cv2.setNumThreads(1)
    detectors = {
        name: create_detector(
            DetectorSpec(name=name),
            model=str(arguments.models / FILES[name]) if arguments.models and name in FILES else None,
        )
        for name in arguments.detectors.split(",")
    }
    if "cost" in tables:
        cost(detectors, arguments.models)
    if "jitter" in tables and arguments.clips:
        jitter(detectors, arguments.clips)
    samples = [sample for sample in read_index(arguments.data) if not sample.is_video]
    if "placement" in tables:
        unseen = [s for s, split in zip(samples, assign_splits(samples), strict=True) if split == "test"]
        placement(detectors, arguments.data, chosen(unseen, arguments.limit), arguments.bundle)
    if "coverage" in tables:
        coverage(detectors, arguments.data, chosen(samples, arguments.limit), arguments.hard)


if __name__ == "__main__":
    main()
