"""Pick more real faces to train on out of clones of public repositories, and write an `index.csv` of them.

    git clone https://github.com/OWNER/NAME CLONES/OWNER/NAME      # for each of REPOSITORIES, bare or not
    python recipes/default/public_faces.py CLONES OUT --beside PAD_DATA
    liveness-train train PAD_DATA OUT …

The pictures belong to three domains. `public`: phones and prints in hands, live pictures from web cameras, cars and the
web. `lfw_colour`: live people only, one picture a person. `celeba_spoof`: more pictures of that data set, for training
only. None of the pictures is part of this project; each is under its origin's terms. The counts that are printed at the
end show what was missing or unfit.
"""

import argparse
import csv
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_PICTURE = re.compile(r"\.(jpe?g|png|webp)$", re.IGNORECASE)
_NEAR = 24
"""Pictures whose fingerprints differ in at most this many of 256 bits count as the same picture."""


@dataclass(frozen=True)
class Take:
    """Which pictures of a repository are taken, and which domain and attack they count as."""

    repository: str
    folder: str
    """Regular expression that matches the beginning of a picture's path."""
    domain: str
    attack: str
    every: int = 1
    """Take one file out of this many."""
    block: int = 1
    """This many neighbouring files count as one person's recording; no file name tells which video a frame is from."""
    size: tuple[int, int] | None = None
    """Take only pictures of this width and height, in pixels."""
    split: str = ""


REPOSITORIES = (
    Take("VinayBR03/Face-Liveness-Detection", "data/(train|test)/fake/", "public", "handheld", 2, 50, (640, 640)),
    Take("AngelinaShoiliRozario/Face-Spoof-Detection-YOLO8-Flask", "extra/datasets/", "public", "screen"),
    Take("koropati/liveness-detection-cnn", "data/original/fake/", "public", "phone", 1, 20),
    Take("koropati/liveness-detection-cnn", "data/original/real/", "public", "live", 1, 20),
    Take("Muneeb-Ahmed-Khan/Yawn-Detection", "dataset_noisy/", "public", "live", 3, 10),
    Take("jolignier/face-mask-dataset-ilc-2021", "JPEGImages/", "public", "live"),
    Take("djangocon/2023.djangocon.us", "static/img/(presenters|organizers)/", "public", "live"),
    Take("djangocon/2024.djangocon.us", "src/_content/(presenters|organizers)/", "public", "live"),
    Take("ropensci/roweb3", "themes/ropensci/static/img/(team|community)/", "public", "live"),
    Take("braun-steven/dfi-tensorflow", "data/lfw-deepfunneled/.*_0001.jpg", "lfw_colour", "live", 2),
    # For training only: the same people may be in the celeba_spoof pictures that figures are reported on.
    Take("imelisa1/Liveness-Detection", "Dataset/(train|test)/Live/", "celeba_spoof", "live", split="train"),
    Take("imelisa1/Liveness-Detection", "Dataset/(train|test)/Spoof/", "celeba_spoof", "print", split="train"),
)


def fingerprint(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """256 bits: where a reduced picture gets brighter to the right. Scaling and compression hardly change them."""
    small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (17, 16), interpolation=cv2.INTER_AREA)
    return (small[:, 1:] > small[:, :-1]).ravel()


def trimmed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture without black bars, so that a bar is never learned as the sign of an attack."""
    bright = picture.max(axis=2) > 24
    columns, rows = np.nonzero(bright.mean(axis=0) > 0.02)[0], np.nonzero(bright.mean(axis=1) > 0.02)[0]
    if not len(columns) or not len(rows):
        return picture
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def pictures(clone: Path, folder: str) -> Iterator[bytes]:
    """The pictures in a folder of a clone's newest commit, in numeric order; files that the clone lacks are skipped."""
    git = ["git", "-C", str(clone)]
    listed = subprocess.run([*git, "ls-tree", "-r", "HEAD"], check=True, capture_output=True, text=True)
    found = (line.split("\t", 1) for line in listed.stdout.splitlines())
    entries = [
        (path.strip('"'), about.split()[2])
        for about, path in found
        if re.match(folder, path.strip('"')) and _PICTURE.search(path.strip('"'))
    ]
    numbered = sorted(entries, key=lambda entry: [int(part) if part.isdigit() else part for part in _parts(entry[0])])
    for _, blob in numbered:
        content = subprocess.run([*git, "cat-file", "blob", blob], check=False, capture_output=True)
        if content.returncode == 0:
            yield content.stdout


def _parts(path: str) -> list[str]:
    return re.split(r"(\d+)", path)


def main() -> None:
    """Write the pictures and their index."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--beside", type=Path, required=True, help="data whose pictures must not come twice")
    arguments = parser.parse_args()
    with (arguments.beside / "index.csv").open(newline="") as file:
        beside = [row["path"] for row in csv.DictReader(file) if row["domain"] == "celeba_spoof"]
    seen = [fingerprint(cv2.imread(str(arguments.beside / path))) for path in beside]
    counts: Counter[tuple[str, str, str]] = Counter()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "index.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "domain", "label", "attack", "subject", "sequence", "split"])
        for take in REPOSITORIES:
            clone = arguments.clones / take.repository
            for number, content in enumerate(pictures(clone, take.folder)):
                if number % take.every:
                    continue
                picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
                if picture is None or (take.size and picture.shape[1::-1] != take.size):
                    counts[take.repository, take.attack, "unfit"] += 1
                    continue
                picture = trimmed(picture)
                if take.domain == "celeba_spoof":
                    print_ = fingerprint(picture)
                    if min(int((print_ != other).sum()) for other in seen) <= _NEAR:
                        counts[take.repository, take.attack, "known"] += 1
                        continue
                    seen.append(print_)
                name = f"{take.domain}/{take.repository.replace('/', '+')}/{take.attack}_{number:05d}.jpg"
                target = arguments.out / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content if _untouched(content, picture) else _jpeg(picture))
                group = f"{take.repository}/{take.attack}/{number // take.block}" if take.block > 1 else ""
                label = "live" if take.attack == "live" else "spoof"
                rows.writerow([name, take.domain, label, take.attack, group, group, take.split])
                counts[take.repository, take.attack, "taken"] += 1
    for (repository, attack, what), count in sorted(counts.items()):
        print(f"{repository:60} {attack:10} {what:6} {count:6}")


def _untouched(content: bytes, picture: NDArray[np.uint8]) -> bool:
    """Whether the file can be copied as it is: a JPEG of which nothing was trimmed keeps its own compression."""
    if not content.startswith(b"\xff\xd8"):
        return False
    whole = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return bool(whole.shape == picture.shape)


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 97])[1])


if __name__ == "__main__":
    main()
